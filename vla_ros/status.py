# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the node is doing and why: counted and measured, never what was merely configured."""

from collections import deque
from dataclasses import dataclass
from dataclasses import replace
import math
import threading
import time
from typing import Optional

from vla_ros.gate import Order
from vla_ros.motion.pace import Pace
from vla_ros.policy import PolicySpec
from vla_ros.safety.state_machine import Mode


class RateMeter:
    """Measures how often something happens, from when it happened."""

    def __init__(self, window: float = 10.0, events: int = 50) -> None:
        """
        Look back over the latest events.

        :param window: seconds after which an event is forgotten.
        :param events: how many events are looked at, so that a change of rate shows soon.
        """
        self._window = window
        self._times: deque[float] = deque(maxlen=events)

    def tick(self, now: float) -> None:
        """Take note of an event at this monotonic time, in seconds."""
        self._times.append(now)

    def rate(self, now: float) -> float:
        """Give the events per second, 0 if fewer than two are remembered."""
        while self._times and now - self._times[0] > self._window:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        intervals = len(self._times) - 1
        period = (self._times[-1] - self._times[0]) / intervals
        # A silence longer than the usual period counts, so that the rate falls when events stop.
        silence = max(0.0, now - self._times[-1] - period)
        return intervals / max(intervals * period + silence, 1e-9)


@dataclass(frozen=True)
class Progress:
    """
    How far the node has come, and what went wrong last.

    :param reason: what the loading is at, or why there is no policy.
    :param adapter: the LoRA adapter that answers; empty if there is none.
    :param last_age: seconds from the image's stamp to the command's publication, NaN before.
    """

    reason: str = 'not configured yet'
    loading_percent: float = 0.0
    spec: Optional[PolicySpec] = None
    adapter: str = ''
    last_age: float = math.nan
    frames_received: int = 0
    frames_unused: int = 0
    frames_failed: int = 0
    answers_void: int = 0
    commands_sent: int = 0
    last_frame: float = -math.inf
    camera_problem: str = ''


@dataclass(frozen=True)
class Status:
    """
    What is told on ``vla/status`` and ``/diagnostics``.

    :param frames_dropped: frames that nobody answered, because a newer one came first or because
        nothing was to be done.
    :param rates: of camera, inference and commands, measured, in Hz.
    :param gates: name of each gate and how often it was violated; empty where no robot is moved.
    :param pace: how answers keep up with the motion.
    """

    state: str
    reason: str
    progress: Progress
    order: Order
    frames_dropped: int
    camera_rate: float
    inference_rate: float
    command_rate: float
    gates: tuple[tuple[str, int], ...] = ()
    pace: Pace = Pace()

    @property
    def explanation(self) -> str:
        """The reason, or while there is none what is worth knowing all the same."""
        is_moving = self.order.state.is_moving
        return self.reason or (self.pace.advice if is_moving else '')

    @property
    def headline(self) -> tuple[str, str, int, int, str]:
        """What a listener wants to hear at once when it changes."""
        return (self.state, self.reason, self.order.version, int(self.progress.loading_percent),
                self.progress.adapter)


class StatusBoard:
    """Collects what happens from every thread, and says what it amounts to."""

    def __init__(self, image_topic: str, instruction_topic: str, image_timeout: float) -> None:
        """
        Start with nothing done.

        :param image_timeout: seconds without an image after which it is missed.
        """
        self._image_topic = image_topic
        self._instruction_topic = instruction_topic
        self._image_timeout = image_timeout
        self._lock = threading.Lock()
        self._progress = Progress()
        self._camera = RateMeter()
        self._inference = RateMeter()
        self._commands = RateMeter()

    def loading(self, reason: str, percent: float = 0.0,
                spec: Optional[PolicySpec] = None) -> None:
        """
        Note how far the loading has come.

        :param spec: of the policy, once it is loaded.
        """
        with self._lock:
            self._progress = replace(self._progress, reason=reason, loading_percent=percent,
                                     spec=spec)

    def adapter(self, name: str) -> None:
        """Note which adapter answers."""
        with self._lock:
            self._progress = replace(self._progress, adapter=name)

    def frame(self) -> None:
        """Count a frame that came in."""
        now = time.monotonic()
        with self._lock:
            self._camera.tick(now)
            self._progress = replace(self._progress, last_frame=now,
                                     frames_received=self._progress.frames_received + 1)

    def camera_problem(self, problem: str) -> bool:
        """
        Note why no image comes in, or with an empty problem that nothing is wrong.

        :return: whether that is news.
        """
        with self._lock:
            if problem == self._progress.camera_problem:
                return False
            self._progress = replace(self._progress, camera_problem=problem)
            return True

    def unused(self) -> None:
        """Count a frame for which there was nothing to do."""
        with self._lock:
            self._progress = replace(self._progress,
                                     frames_unused=self._progress.frames_unused + 1)

    def inferred(self) -> None:
        """Count an answer of the policy."""
        with self._lock:
            self._inference.tick(time.monotonic())

    def failed(self) -> None:
        """Count a frame that gave no command because something went wrong."""
        with self._lock:
            self._progress = replace(self._progress,
                                     frames_failed=self._progress.frames_failed + 1)

    def void(self) -> None:
        """Count an answer that came too late: its instruction was changed or it was stopped."""
        with self._lock:
            self._progress = replace(self._progress,
                                     answers_void=self._progress.answers_void + 1)

    def answered(self, age: float) -> None:
        """Note an answer that was sent, or played, so many seconds after its image was taken."""
        with self._lock:
            self._progress = replace(self._progress, last_age=age)

    def sent(self) -> None:
        """Count a command."""
        now = time.monotonic()
        with self._lock:
            self._commands.tick(now)
            self._progress = replace(self._progress,
                                     commands_sent=self._progress.commands_sent + 1)

    def status(self, order: Order, replaced: int) -> Status:
        """
        Sum everything up.

        :param replaced: how many frames newer ones have replaced.
        """
        now = time.monotonic()
        with self._lock:
            progress = self._progress
            camera, inference, commands = (
                meter.rate(now) for meter in (self._camera, self._inference, self._commands))
        state, reason = self._judge(progress, order, now)
        return Status(state, reason, progress, order, replaced + progress.frames_unused,
                      camera, inference, commands)

    def _judge(self, progress: Progress, order: Order, now: float) -> tuple[str, str]:
        state = order.state
        mode = str(state.mode)
        if state.mode in (Mode.UNCONFIGURED, Mode.LOADING):
            return mode, progress.reason
        if state.mode is Mode.ESTOP:
            return mode, ('emergency stop is pressed' if state.pressed else
                          'emergency stop was released: call ~/rearm to go on')
        if state.reason is not None:
            call = '' if state.reason.automatic or state.mode is Mode.FAULT else (
                '; call ~/rearm to go on')
            return mode, f'{state.reason}: {order.detail}{call}'
        if state.is_moving:
            return mode, ('' if state.mode is Mode.RUNNING else
                          'commands go to arm/joint_command/shadow; call ~/rearm to take the arm')
        if not state.active:
            return mode, 'configured, waiting to be activated'
        if not order.instruction:
            return mode, (f'no instruction: publish one on {self._instruction_topic} '
                          'or set the parameter instruction')
        if now - progress.last_frame > self._image_timeout:
            why = f': {progress.camera_problem}' if progress.camera_problem else ''
            return mode, (f'no image on {self._image_topic} '
                          f'for more than {self._image_timeout:g} s{why}')
        return mode, 'the first answer to this instruction is being computed'
