# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the node does and why: counted and measured, never the configured figures."""

from dataclasses import dataclass
from dataclasses import replace
import math
import threading
import time

from vla_ros.control.command_gate import CommandContext
from vla_ros.motion.coverage import Coverage
from vla_ros.policy.base import PolicySpec
from vla_ros.safety.state_machine import ControlMode
from vla_ros.safety.state_machine import Mode
from vla_ros.util.rate_meter import RateMeter


@dataclass(frozen=True)
class Progress:
    """
    How far the node has come, and what went wrong last.

    :param reason: what the loading is at, or why there is no policy.
    :param adapter: the active LoRA adapter; empty if there is none.
    :param last_age: seconds from the image's stamp to the command's publication, NaN before.
    """

    reason: str = 'not configured yet'
    loading_percent: float = 0.0
    spec: PolicySpec | None = None
    adapter: str = ''
    last_age: float = math.nan
    frames_received: int = 0
    frames_unused: int = 0
    frames_failed: int = 0
    results_discarded: int = 0
    commands_sent: int = 0
    actions_executed: int = 0
    last_frame: float = -math.inf
    camera_problem: str = ''
    stop_problem: str = ''


@dataclass(frozen=True)
class Status:
    """
    What ``vla/status`` and ``/diagnostics`` publish.

    :param frames_dropped: frames without an inference, because a newer one came first or because
        the node sent nothing.
    :param rates: of camera, inference and commands, measured, in Hz.
    :param action_limits: name and violations of each limit; empty where no robot is moved.
    :param coverage: share of the motion that the results cover.
    """

    state: str
    reason: str
    progress: Progress
    context: CommandContext
    frames_dropped: int
    camera_rate: float
    inference_rate: float
    command_rate: float
    action_limits: tuple[tuple[str, int], ...] = ()
    coverage: Coverage = Coverage()

    @property
    def explanation(self) -> str:
        """The reason; without one, advice."""
        is_advised = (self.context.state.is_moving
                      and self.control_mode is ControlMode.AUTONOMOUS)
        return self.reason or (self.coverage.advice if is_advised else '')

    @property
    def control_mode(self) -> ControlMode:
        """Who moves the arm."""
        return self.context.state.control

    @property
    def headline(self) -> tuple[object, ...]:
        """What is published at once when it changes."""
        return (self.state, self.reason, self.control_mode, self.context.version,
                int(self.progress.loading_percent), self.progress.adapter,
                self.progress.stop_problem)


class NodeStatus:
    """Counts and measures events of every thread; :meth:`status` sums them up."""

    def __init__(self, image_topic: str, instruction_topic: str, image_timeout: float,
                 stop_topic: str = '/arm/estop', requires_stop: bool = False) -> None:
        """
        Start with nothing done.

        :param image_timeout: seconds without an image after which it is missed.
        :param stop_topic: of the emergency stop.
        :param requires_stop: nothing moves before a message of it came.
        """
        self._image_topic = image_topic
        self._instruction_topic = instruction_topic
        self._image_timeout = image_timeout
        self._stop_topic = stop_topic
        self._requires_stop = requires_stop
        self._lock = threading.Lock()
        self._progress = Progress()
        self._camera = RateMeter()
        self._inference = RateMeter()
        self._commands = RateMeter()

    def loading(self, reason: str, percent: float = 0.0,
                spec: PolicySpec | None = None) -> None:
        """
        Record the progress of the loading.

        :param spec: of the policy, once it is loaded.
        """
        with self._lock:
            self._progress = replace(self._progress, reason=reason, loading_percent=percent,
                                     spec=spec)

    def adapter(self, name: str) -> None:
        """Record the active adapter."""
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
        Record why no image arrives; an empty problem clears it.

        :returns: whether that is news.
        """
        with self._lock:
            if problem == self._progress.camera_problem:
                return False
            self._progress = replace(self._progress, camera_problem=problem)
            return True

    def stop_problem(self, problem: str) -> bool:
        """
        Record which emergency stop has incompatible QoS; an empty problem clears it.

        :returns: whether that is news.
        """
        with self._lock:
            is_news = problem != self._progress.stop_problem
            self._progress = replace(self._progress, stop_problem=problem)
            return is_news

    def skipped(self) -> None:
        """Count a frame that came while nothing is sent."""
        with self._lock:
            self._progress = replace(self._progress,
                                     frames_unused=self._progress.frames_unused + 1)

    def inferred(self) -> None:
        """Count a result of the policy."""
        with self._lock:
            self._inference.tick(time.monotonic())

    def failed(self) -> None:
        """Count a frame that gave no command because something went wrong."""
        with self._lock:
            self._progress = replace(self._progress,
                                     frames_failed=self._progress.frames_failed + 1)

    def discarded(self) -> None:
        """Count a stale result: the instruction was changed, or the arm stopped, meanwhile."""
        with self._lock:
            self._progress = replace(self._progress,
                                     results_discarded=self._progress.results_discarded + 1)

    def result_sent(self, age: float) -> None:
        """Record a result that was sent or executed, with the age of its image in seconds."""
        with self._lock:
            self._progress = replace(self._progress, last_age=age,
                                     actions_executed=self._progress.actions_executed + 1)

    def actions_executed(self) -> int:
        """Count the inference results that were acted upon."""
        with self._lock:
            return self._progress.actions_executed

    def sent(self) -> None:
        """Count a command."""
        now = time.monotonic()
        with self._lock:
            self._commands.tick(now)
            self._progress = replace(self._progress,
                                     commands_sent=self._progress.commands_sent + 1)

    def status(self, context: CommandContext, replaced: int) -> Status:
        """
        Sum everything up.

        :param replaced: how many frames newer ones have replaced.
        """
        now = time.monotonic()
        with self._lock:
            progress = self._progress
            camera, inference, commands = (
                meter.rate(now) for meter in (self._camera, self._inference, self._commands))
        state, reason = self._judge(progress, context, now)
        return Status(state, reason, progress, context, replaced + progress.frames_unused,
                      camera, inference, commands)

    def _judge(self, progress: Progress, context: CommandContext, now: float) -> tuple[str, str]:
        state = context.state
        mode = str(state.mode)
        if state.mode in (Mode.UNCONFIGURED, Mode.LOADING):
            mismatch = f'; emergency stop cannot be received: {progress.stop_problem}'
            return mode, progress.reason + (mismatch if progress.stop_problem else '')
        if state.mode is Mode.ESTOP:
            gone = (f', and {context.detail}: find out why, then call ~/rearm'
                    if context.detail else '')
            return mode, (f'emergency stop is pressed{gone}' if state.pressed else
                          'emergency stop was released: call ~/rearm to go on')
        if state.reason is not None:
            call = '' if state.reason.automatic or state.mode is Mode.FAULT else (
                '; call ~/rearm to go on')
            return mode, f'{state.reason}: {context.detail}{call}'
        if state.is_moving:
            return mode, ('' if state.mode is Mode.RUNNING else
                          'commands go to arm/joint_command/shadow; ~/shadow with false, then '
                          '~/rearm, takes the arm')
        if not state.active and progress.stop_problem:
            return mode, ('activation is refused, an emergency stop cannot be received: '
                          f'{progress.stop_problem}; change or end that publisher, then activate')
        if not state.active:
            return mode, 'configured, waiting to be activated'
        if state.awaiting:
            return mode, (f'no message of an emergency stop came on {self._stop_topic}, and one '
                          'is required' if self._requires_stop else
                          f'listening on {self._stop_topic} for an emergency stop that is '
                          'pressed already')
        if state.control is ControlMode.PAUSED:
            return mode, ('paused after a takeover: call ~/resume to let the policy go on, or '
                          'press the deadman')
        if state.control is ControlMode.TAKEOVER:
            return mode, ('taken over: no command on teleop/joint_command or teleop/twist has '
                          'come yet')
        if not context.instruction:
            return mode, (f'no instruction: publish one on {self._instruction_topic} '
                          'or set the parameter instruction')
        if now - progress.last_frame > self._image_timeout:
            why = f': {progress.camera_problem}' if progress.camera_problem else ''
            return mode, (f'no image on {self._image_topic} '
                          f'for more than {self._image_timeout:g} s{why}')
        return mode, 'the first inference with this instruction is under way'
