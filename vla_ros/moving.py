# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Moves the arm by what was answered, tick by tick, or holds it for what is wrong."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
import math
import time
from typing import Optional

from vla_ros.errors import ParameterError
from vla_ros.gate import Gate
from vla_ros.gate import Order
from vla_ros.joint_command import JointCommand
from vla_ros.joint_command import JointMapper
from vla_ros.motion.arm import Arm
from vla_ros.motion.arm import ArmCommand
from vla_ros.motion.measurements import Measurements
from vla_ros.motion.playback import Score
from vla_ros.parameters import NodeConfig
from vla_ros.policy import ActionChunk
from vla_ros.policy import PolicySpec
from vla_ros.safety import black_box
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.frames import ClockWatch
from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import Reason
from vla_ros.safety.state_machine import State
from vla_ros.shell import Frame
from vla_ros.shell import Shell
from vla_ros.status import Status
from vla_ros.status import StatusBoard

#: Seconds after which what gets too old is sure to be too old, by a clock that may be slewed.
_HAIR = 0.001


class Mover:
    """
    What stands between an answer and the arm: an arm that plays it, or a map of its numbers.

    :meth:`prepare` belongs to the worker's thread; what it gives is done under the gate's lock, as
    every tick is.
    """

    def __init__(self, config: NodeConfig, shell: Shell, board: StatusBoard, gate: Gate,
                 black_box: Optional[BlackBox]) -> None:
        """Start with nothing to move; :meth:`build` says what."""
        self._config = config
        self._shell = shell
        self._board = board
        self._gate = gate
        self._black_box = black_box
        self._joints = Measurements(config.joint_names)
        self._clock = ClockWatch()
        self._mapper: Optional[JointMapper] = None
        self._arm: Optional[Arm] = None
        self._answered: Optional[Frame] = None
        self._newest: Optional[Frame] = None
        self._last_command: Optional[JointCommand] = None
        self._is_closed = False

    @property
    def arm(self) -> Optional[Arm]:
        """The arm that plays the actions, if a robot is moved."""
        return self._arm

    def build(self, spec: PolicySpec) -> None:
        """
        Make ready for a policy.

        :raises VlaError: robot, parameters and policy do not fit each other.
        """
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

    def close(self) -> None:
        """Send nothing more."""
        self._is_closed = True

    def frame(self, frame: Frame) -> None:
        """Note the newest frame: how old it is decides whether the arm may move."""
        self._newest = frame

    def joints(self, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take measured joint positions in, in rad and m; arm and gripper may come apart."""
        now = time.monotonic()
        arm = self._arm
        (self._joints if arm is None else arm.measurements).take(names, positions, now)
        if self._black_box is not None:
            self._black_box.joints(self._shell.now(), black_box.JOINT_STATES, names, positions)

    def tell(self, status: Status) -> Status:
        """Add what is known of the motion to a status."""
        arm = self._arm
        if arm is None:
            return status
        return replace(status, gates=arm.gates.counts, pace=arm.pace)

    def prepare(self, frame: Frame, chunk: ActionChunk
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

    def tick(self) -> bool:
        """
        Send what is due, or hold for what is wrong.

        :return: whether the state has changed.
        """
        jump = self._clock.look(self._shell.now() / 1e9, time.monotonic(),
                                self._shell.is_simulated())
        return self._gate.tick(partial(self._step, jump))

    def due(self) -> float:
        """
        Give the monotonic seconds at which an input gets too old to move by; infinity for never.

        A tick is due then: it holds the arm, whatever the rate of ticks is. By simulated time it
        cannot be foreseen, and is left to the ticks.
        """
        if self._shell.is_simulated() or not self._gate.order.state.is_moving:
            return math.inf
        names, joints = self._needed_joints()
        now = time.monotonic()
        frame = self._newest
        spans = [most - age for most, age in (
            (self._config.max_age, 0.0 if frame is None else self._age(frame)),
            (self._config.joint_timeout, joints.age(names, now))) if most > 0.0]
        return now + max(0.0, min(spans, default=math.inf)) + _HAIR

    def check_age(self, frame: Frame) -> None:
        """
        Check that an image, now answered, and joint states are young enough to move an arm by.

        :raises Held: they are not.
        """
        age = self._age(frame)
        if 0.0 < self._config.max_age < age and not self._is_raw:
            raise Held(Reason.STALE_IMAGE, f'the image was {age:.3f} s old when it was answered, '
                                           f'max_age is {self._config.max_age:g} s')
        names, joints = self._needed_joints()
        held = self._find_stale_joints()
        if held is not None and not joints.missing(names):
            raise held  # else a better sentence follows, which says who is missing

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
        held = self._find_jump(jump, order.state)
        if held is None and order.state.is_moving:
            held = self._find_stale_input()
        if held is not None:
            return held
        if self._is_closed:
            return None
        if self._arm is None:
            self._hold_directly(order)
            return None
        try:
            command = self._arm.tick(order.state, self._shell.motion_time())
        except Held as held:
            return held
        if command is not None and self._gate.may_send():
            frame = self._answered if order.state.is_moving else None
            self._shell.publish_motion(command, frame and frame.image, order.state.shadow)
            self._board.sent()
            self._note_command(command)
        return None

    def _find_jump(self, jump: str, state: State) -> Optional[Held]:
        if not jump:
            return None
        if self._arm is not None:
            self._arm.forget()
        # An image of the new time may come before the clock, look stale and hold the arm: then it
        # is said now why.
        is_news = state.is_moving or (state.mode is Mode.HOLD
                                      and state.reason is not Reason.CLOCK_JUMPED)
        return Held(Reason.CLOCK_JUMPED, jump) if is_news else None

    def _find_stale_input(self) -> Optional[Held]:
        age = self._age(self._newest) if self._newest is not None else 0.0
        if 0.0 < self._config.max_age < age:
            return Held(Reason.STALE_IMAGE, f'the newest image is {age:.3f} s old, max_age is '
                                            f'{self._config.max_age:g} s')
        return self._find_stale_joints()

    def _find_stale_joints(self) -> Optional[Held]:
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
        if self._gate.may_send():
            self._shell.publish_hold(JointCommand(command.names, positions), order.state.shadow)
            self._board.sent()

    def _note_command(self, command: ArmCommand) -> None:
        if self._black_box is not None:
            self._black_box.joints(self._shell.now(), black_box.COMMANDS, command.names,
                                   command.setpoint.positions.tolist(),
                                   command.setpoint.velocities.tolist())

    @property
    def _is_raw(self) -> bool:
        return self._config.action_space == 'raw'
