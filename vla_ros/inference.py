# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From frames to commands: everything that the node does, without ROS."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
import logging
import math
from pathlib import Path
import threading
import time
from typing import Any
from typing import Optional
from typing import Protocol

import numpy as np

from vla_ros.adapter_choice import AdapterChoice
from vla_ros.errors import Cancelled
from vla_ros.errors import InvalidAction
from vla_ros.errors import MissingInput
from vla_ros.errors import NotFinite
from vla_ros.errors import NotMeasured
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.gate import Gate
from vla_ros.gate import Order
from vla_ros.joint_command import JointCommand
from vla_ros.joint_command import JointMapper
from vla_ros.motion.arm import Arm
from vla_ros.motion.arm import ArmCommand
from vla_ros.motion.measurements import Measurements
from vla_ros.motion.playback import Score
from vla_ros.observing import Observing
from vla_ros.parameters import NodeConfig
from vla_ros.policy import ActionChunk
from vla_ros.policy import Policy
from vla_ros.policy import PolicyConfig
from vla_ros.policy import PolicySpec
from vla_ros.policy import Progress
from vla_ros.safety import black_box
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.black_box import BlackBoxSettings
from vla_ros.safety.frames import ClockWatch
from vla_ros.safety.frames import FrozenImage
from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import Reason
from vla_ros.status import Status
from vla_ros.status import StatusBoard
from vla_ros.worker import Worker

_logger = logging.getLogger(__name__)

#: Seconds that a deactivated policy is given to finish its last answer before it is unloaded.
_CLEANUP_TIMEOUT = 30.0
#: States at which the black box is written.
_STOPS = (Mode.HOLD, Mode.ESTOP, Mode.FAULT)


@dataclass(frozen=True)
class Frame:
    """
    An image as it came in.

    :param image: the message, untouched until the worker reads it.
    :param received: nanoseconds of ROS time.
    :param arrived: monotonic seconds.
    """

    image: Any
    received: int
    arrived: float


@dataclass(frozen=True)
class Answer:
    """
    An answer of the policy, and what it was computed from.

    :param command: where there is no arm that plays the actions.
    :param is_shadow: the arm is not to be moved by it.
    :param started: when the inference began, in nanoseconds of ROS time.
    :param ended: when it ended, in nanoseconds of ROS time.
    """

    frame: Frame
    order: Order
    unnorm_key: str
    chunk: ActionChunk
    command: Optional[JointCommand]
    is_shadow: bool
    started: int
    ended: int


class Shell(Protocol):
    """What the inference needs of ROS; every method may be called from any thread."""

    def now(self) -> int:
        """Give the ROS time in nanoseconds."""

    def read_image(self, image: Any) -> np.ndarray:
        """Give uint8 (H, W, 3) RGB, or raise :class:`vla_ros.errors.ImageError`."""

    def motion_time(self) -> float:
        """Give seconds of the clock by which the arm moves: steady, or simulated."""

    def is_simulated(self) -> bool:
        """Whether the ROS time is simulated."""

    def stamp_of(self, image: Any) -> int:
        """Give the stamp of an image in nanoseconds, 0 if it has none."""

    def robot_description(self) -> str:
        """Wait for the URDF's text on its topic, or raise a VlaError."""

    def publish_answer(self, answer: Answer) -> float:
        """Publish the command, if there is one, at once; give the age of its image in seconds."""

    def publish_hold(self, command: JointCommand, is_shadow: bool) -> None:
        """Publish a command that answers no image."""

    def publish_motion(self, command: ArmCommand, image: Any, is_shadow: bool) -> None:
        """Publish what the arm is to do now; with the image that it answers, None for a hold."""

    def publish_status(self, status: Status) -> None:
        """Publish the status."""


class Inference:
    """
    Keeps the newest frame, answers it with the policy, and lets the command out.

    Answers come out of the worker's thread in :meth:`_answer`; whatever is to stand between the
    policy and the arm stands there, and ends in the gate.
    """

    def __init__(self, config: NodeConfig, shell: Shell, board: StatusBoard,
                 load_policy: Callable[[PolicyConfig], Policy]) -> None:
        """
        Start with nothing loaded.

        :param load_policy: :func:`vla_ros.policy.load_policy`, or what a test puts in its place.
        :raises ParameterError: parameters do not go together.
        """
        self._config = config
        self._shell = shell
        self._board = board
        self._load_policy = load_policy
        self._gate = Gate(config.instruction, config.dry_start, config.shadow)
        self._joints = Measurements(config.joint_names)
        self._adapters = AdapterChoice(config.adapters, config.adapter)
        #: Where inputs beside the main image are handed in.
        self.observing = Observing(config)
        # Once it was stopped no worker is started any more, and nothing is published.
        self._starting = threading.Lock()
        self._is_stopped = False
        self._worker: Optional[Worker[Frame]] = None
        self._mapper: Optional[JointMapper] = None
        self._arm: Optional[Arm] = None
        self._answered_epoch = -1
        self._answered: Optional[Frame] = None
        self._busy_since = math.inf
        self._newest: Optional[Frame] = None
        self._last_command: Optional[JointCommand] = None
        self._frozen = FrozenImage(config.frozen_stamps, config.frozen_pixels)
        self._clock = ClockWatch()
        self._black_box = _black_box(config)
        # Statuses are published in the order in which they came about, by whatever thread.
        self._telling = threading.Lock()
        self._told: Any = None
        self._told_state = ('', '')

    @property
    def instruction(self) -> str:
        """The instruction in force."""
        return self._gate.order.instruction

    def configure(self) -> PolicySpec:
        """
        Load the policy, and wait until it is ready.

        :raises VlaError: it cannot be loaded, or does not fit the configuration; the status says
            the same.
        """
        self._board.loading('starting to load')
        self._gate.handle(Event.CONFIGURE)
        self.tell_changes()
        try:
            worker = self._start_worker()
            spec = worker.wait_loaded()
            self.observing.check(spec)
            self._build(spec)
        except Cancelled:
            # Whoever stopped the worker waits for it, and not longer than need be.
            self._board.loading('loading was cancelled')
            self._gate.handle(Event.CLEANUP)
            raise
        except Exception as error:
            if self._worker is not None:
                self._worker.stop(_CLEANUP_TIMEOUT)
            self._worker = None
            self._gate.handle(Event.LOAD_FAILED, describe(error))
            self.tell_changes()
            raise
        self._board.loading('', 100.0, spec)
        self._gate.handle(Event.LOADED)
        self.tell_changes()
        return spec

    def activate(self) -> None:
        """Answer frames from now on."""
        self._gate.handle(Event.ACTIVATE)
        self.tell_changes()

    def deactivate(self) -> None:
        """Send nothing more."""
        self._gate.handle(Event.DEACTIVATE)
        self.tell_changes()

    def cleanup(self) -> bool:
        """
        Unload the policy.

        :return: False if it is still busy.
        """
        if self._worker is not None and not self._worker.stop(_CLEANUP_TIMEOUT):
            return False
        self._worker = None
        self._busy_since = math.inf
        self._board.loading('the policy was unloaded')
        self._gate.handle(Event.CLEANUP)
        self.tell_changes()
        return True

    def stop(self, timeout: float) -> bool:
        """
        Send nothing more, and end the worker.

        :param timeout: seconds to wait for what is under way.
        :return: whether the worker ended.
        """
        self._gate.handle(Event.DEACTIVATE)
        with self._starting, self._telling:
            self._is_stopped = True
        worker = self._worker
        is_idle = worker is None or worker.stop(timeout)
        if self._black_box is not None:
            self._black_box.close(timeout)
        return is_idle

    def frame(self, image: Any) -> None:
        """Take a frame in; the worker will answer it unless a newer one comes first."""
        frame = Frame(image, self._shell.now(), time.monotonic())
        self._newest = frame
        self._board.frame()
        worker = self._worker
        if worker is not None:
            worker.put(frame)

    def joints(self, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take measured joint positions in, in rad and m; arm and gripper may come apart."""
        now = time.monotonic()
        arm = self._arm
        (self._joints if arm is None else arm.measurements).take(names, positions, now)
        if self._black_box is not None:
            self._black_box.joints(self._shell.now(), black_box.JOINT_STATES, names, positions)
        self.observing.joints(names, positions)

    def instruct(self, instruction: str) -> None:
        """Change the instruction; after the status that says so no older command follows."""
        if self._gate.instruct(instruction.strip()):
            _logger.info('instruction %d: %r', self._gate.order.version, instruction.strip())
            self.tell_changes()

    def choose_adapter(self, name: str) -> None:
        """
        Have another adapter answer, from the next inference on.

        :raises ParameterError: it cannot be chosen.
        """
        self._adapters.choose(name)

    def emergency_stop(self, pressed: bool) -> None:
        """Stop at once, or note that the button was released; that alone does not re-arm."""
        if self._gate.handle(Event.ESTOP_PRESSED if pressed else Event.ESTOP_RELEASED):
            self.tell_changes()

    def hold(self, reason: Reason, detail: str) -> None:
        """Hold the arm for a reason that came up outside: an operator, the middleware."""
        if self._gate.problem(Held(reason, detail)):
            self.tell_changes()

    def tick(self) -> None:
        """Send what is due, or hold for what is wrong; called ``command_rate`` times a second."""
        jump = self._clock.look(self._shell.now() / 1e9, time.monotonic(),
                                self._shell.is_simulated())
        if self._gate.tick(partial(self._step, jump)):
            self.tell_changes()

    def watch(self) -> None:
        """Look whether the inference hangs; called many times a second by a steady clock."""
        busy = time.monotonic() - self._busy_since
        if busy > self._config.inference_timeout and self._gate.handle(
                Event.HANG, f'no answer for {busy:.1f} s, safety.inference_timeout is '
                f'{self._config.inference_timeout:g} s; end the node, or clean it up and '
                'configure it again'):
            self.tell_changes()

    def rearm(self) -> str:
        """
        Go on after an emergency stop or a hold, or take the arm out of the shadow.

        :return: why not; empty if it was done.
        """
        refusal = self._gate.rearm()
        self.tell_changes()
        return refusal

    def tell(self) -> None:
        """Publish the status."""
        with self._telling:
            self._publish(self._status())

    def tell_changes(self) -> None:
        """Publish the status if anything in it is news."""
        with self._telling:
            status = self._status()
            if status.headline != self._told:
                self._publish(status)

    def _status(self) -> Status:
        worker = self._worker
        return self._board.status(self._gate.order, worker.dropped if worker else 0)

    def _publish(self, status: Status) -> None:
        if self._is_stopped:
            return
        self._told = status.headline
        self._shell.publish_status(status)
        self._remember(status)

    def _remember(self, status: Status) -> None:
        state = (status.state, status.order.instruction)
        if self._black_box is None or state == self._told_state:
            return
        is_stop = status.state != self._told_state[0] and status.state in _STOPS
        self._told_state = state
        self._black_box.event(self._shell.now(), f'{status.state} {status.reason} '
                              f'[{status.order.instruction}]', 'warning' if is_stop else 'info')
        if is_stop:
            self._black_box.write(f'{status.state} {status.order.state.reason or ""}'.strip())

    @property
    def _is_raw(self) -> bool:
        return self._config.action_space == 'raw'

    def _build(self, spec: PolicySpec) -> None:
        config = self._config
        self._arm = self._mapper = None
        if config.robot_file:
            # Imported only where a robot is moved: these need pinocchio and ruckig.
            from vla_ros.motion.build import build_arm
            self._arm = build_arm(config, spec, self._shell.robot_description)
            return
        if config.output != 'joint_state':
            raise ParameterError('output', config.output,
                                 'joint_state where no robot.file is set')
        self._mapper = JointMapper(config.action_space, config.joint_names, spec.action_shape[1])

    def _start_worker(self) -> Worker[Frame]:
        with self._starting:
            if self._is_stopped:
                raise Cancelled('the node is about to end')
            self._worker = Worker(self._load, self._answer, self._report)
            return self._worker

    def _load(self, progress: Progress) -> Policy:
        policy = self._load_policy(self._config.policy_config(
            self._adapters.folders, self._adapters.begin(), progress))
        self._board.adapter(self._adapters.in_place)
        return policy

    def _report(self, fraction: float, activity: str) -> None:
        self._board.loading(activity, 100.0 * fraction)
        self.tell_changes()

    def _answer(self, policy: Policy, frame: Frame) -> None:
        order = self._gate.order
        if not order.is_open or frame.arrived < order.since:
            # A frame from before the order may be arbitrarily old; the next one is answered.
            self._board.unused()
            return
        self._busy_since = time.monotonic()
        try:
            self._compute(policy, frame, order)
        except Exception as error:  # whatever it is: nothing moves, and the next frame is tried
            self._board.failed()
            self._gate.problem(_held(error), order)
            _logger.error('no command: %s', describe(error))
        finally:
            self._busy_since = math.inf
        self.tell_changes()

    def _compute(self, policy: Policy, frame: Frame, order: Order) -> None:
        is_switched = self._switch_adapter(policy)
        if is_switched or order.epoch != self._answered_epoch:
            # What the policy kept belongs to another instruction or adapter, or before a stop.
            policy.reset()
            self._answered_epoch = order.epoch
        started = self._shell.now()
        rgb = self._shell.read_image(frame.image)
        self._check_image(frame, rgb)
        chunk = policy.infer(self.observing.observe(rgb, order.instruction))
        ended = self._shell.now()
        self._board.inferred()
        self._check_age(frame)
        send, command = self._prepare(frame, chunk)
        answer = Answer(frame, order, policy.spec.unnorm_key, chunk, command,
                        order.state.shadow, started, ended)
        if not self._gate.send(order, partial(self._send, answer, send)):
            self._board.void()
        if self._black_box is not None:
            taken = self._shell.stamp_of(frame.image)
            self._black_box.frame(frame.received, taken, '', rgb)
            self._black_box.answer(ended, taken, chunk)

    def _switch_adapter(self, policy: Any) -> bool:
        if not self._adapters.apply(policy):
            return False
        _logger.info('adapter %s answers from now on', self._adapters.in_place)
        self._board.adapter(self._adapters.in_place)
        return True

    def _prepare(self, frame: Frame, chunk: ActionChunk
                 ) -> tuple[Callable[[], None], Optional[JointCommand]]:
        """Give what sends an answer, and the command, if the answer itself is one."""
        arm = self._arm
        if arm is None:
            assert self._mapper is not None, 'the gate is open only after configure'
            command = self._mapper.command(chunk.actions[0], self._joints.positions)
            return partial(self._remember_command, command), command
        now = self._shell.motion_time()
        score = arm.compose(chunk, self._gate.look(lambda _: arm.basis(now)))
        return partial(self._play, arm, score, frame), None

    def _play(self, arm: Arm, score: Score, frame: Frame) -> None:
        self._answered = frame
        arm.play(score)

    def _remember_command(self, command: JointCommand) -> None:
        self._last_command = command

    def _send(self, answer: Answer, send: Callable[[], None]) -> None:
        send()
        self._board.answered(self._shell.publish_answer(answer))
        if answer.command is not None:
            self._board.sent()

    def _check_image(self, frame: Frame, rgb: np.ndarray) -> None:
        joints = None if self._arm is None else self._arm.measured
        problem = self._frozen.check(self._shell.stamp_of(frame.image), rgb, frame.arrived, joints)
        if problem:
            raise Held(Reason.FROZEN_IMAGE, problem)

    def _check_age(self, frame: Frame) -> None:
        age = self._age(frame)
        if 0.0 < self._config.max_age < age and not self._is_raw:
            raise Held(Reason.STALE_IMAGE, f'the image was {age:.3f} s old when it was answered, '
                                           f'max_age is {self._config.max_age:g} s')

    def _age(self, frame: Frame) -> float:
        if self._is_raw:
            # Raw numbers move nothing, so a stamp of whatever clock will do: what counts is
            # whether images still come.
            return time.monotonic() - frame.arrived
        taken = self._shell.stamp_of(frame.image)
        since_taken = (self._shell.now() - taken) / 1e9 if taken else 0.0
        if self._shell.is_simulated():
            return since_taken
        # Without a stamp, or with one of the future, what counts is when it arrived.
        return max(since_taken, time.monotonic() - frame.arrived)

    def _step(self, jump: str, order: Order) -> Optional[Held]:
        """Send what is due; called under the gate's lock."""
        if order.state.is_moving:
            held = self._find_problem(jump)
            if held is not None:
                return held
        if self._is_stopped:
            return None
        if self._arm is None:
            self._hold_directly(order)
            return None
        try:
            command = self._arm.tick(order.state, self._shell.motion_time())
        except Held as held:
            return held
        if command is not None:
            frame = self._answered if order.state.is_moving else None
            self._shell.publish_motion(command, frame and frame.image, order.state.shadow)
            self._board.sent()
            self._note_command(command)
        return None

    def _find_problem(self, jump: str) -> Optional[Held]:
        if jump:
            if self._arm is not None:
                self._arm.forget()
            return Held(Reason.CLOCK_JUMPED, jump)
        age = self._age(self._newest) if self._newest is not None else 0.0
        if 0.0 < self._config.max_age < age:
            return Held(Reason.STALE_IMAGE, f'the newest image is {age:.3f} s old, max_age is '
                                            f'{self._config.max_age:g} s')
        names, joints = self._needed_joints()
        age = joints.age(names, time.monotonic())
        if 0.0 < self._config.joint_timeout < age:
            return Held(Reason.STALE_JOINTS, f'the newest joint states are {age:.3f} s old, '
                        f'joint_states.timeout is {self._config.joint_timeout:g} s')
        return None

    def _needed_joints(self) -> tuple[Sequence[str], Measurements]:
        if self._arm is not None:
            return self._arm.joints, self._arm.measurements
        needs_joints = self._config.action_space == 'joint_delta'
        return self._config.joint_names if needs_joints else (), self._joints

    def _hold_directly(self, order: Order) -> None:
        """Keep joints where they are, as far as anyone knows where that is."""
        command = self._last_command
        if order.state.mode is not Mode.HOLD or not order.state.active or command is None \
                or self._is_raw:
            return
        measured = self._joints.positions
        positions = tuple(measured.get(name, position)
                          for name, position in zip(command.names, command.positions))
        self._shell.publish_hold(JointCommand(command.names, positions), order.state.shadow)
        self._board.sent()

    def _note_command(self, command: ArmCommand) -> None:
        if self._black_box is not None:
            self._black_box.joints(self._shell.now(), black_box.COMMANDS, command.names,
                                   command.setpoint.positions.tolist(),
                                   command.setpoint.velocities.tolist())


def _black_box(config: NodeConfig) -> Optional[BlackBox]:
    if not config.black_box_folder:
        return None
    return BlackBox(BlackBoxSettings(Path(config.black_box_folder).expanduser(),
                                     config.black_box_seconds, config.black_box_disk))


def _held(error: Exception) -> Held:
    """Give the reason for which an error holds the arm."""
    if isinstance(error, Held):
        return error
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Held(reason, describe(error))
    # torch's own error, which this layer does not import torch to know.
    if type(error).__name__ == 'OutOfMemoryError':
        return Held(Reason.OUT_OF_MEMORY, describe(error))
    return Held(Reason.POLICY_ERROR, describe(error))


_REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (InvalidAction, Reason.INVALID_TOKENS), (MemoryError, Reason.OUT_OF_MEMORY),
    (NotFinite, Reason.NOT_FINITE), (MissingInput, Reason.MISSING_INPUT),
    (NotMeasured, Reason.STALE_JOINTS))


def describe(error: BaseException) -> str:
    """Give an error as one line: its own sentence if it has one, else with its type."""
    text = str(error) if isinstance(error, VlaError) else f'{type(error).__name__}: {error}'
    return ' '.join(text.split())
