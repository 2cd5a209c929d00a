# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Sends results: at once as a joint command, or with an arm tick by tick along a trajectory."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
import math
import time

from vla_ros.control.command_gate import CommandContext
from vla_ros.control.command_gate import CommandGate
from vla_ros.control.input_checks import InputChecks
from vla_ros.control.joint_command import JointCommand
from vla_ros.control.joint_command import JointMapper
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.ros_interface import Frame
from vla_ros.control.ros_interface import InferenceResult
from vla_ros.control.ros_interface import RosInterface
from vla_ros.control.status import NodeStatus
from vla_ros.control.status import Status
from vla_ros.errors import ParameterError
from vla_ros.motion.arm import Arm
from vla_ros.motion.arm import ArmCommand
from vla_ros.motion.executor import ActionTrajectory
from vla_ros.motion.teleop import JointTarget
from vla_ros.motion.teleop import TipVelocity
from vla_ros.policy.base import PolicySpec
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety import black_box
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import State


class MotionOutput:
    """
    Owns what turns results into commands: an arm, or a map from numbers to joints.

    :meth:`send` belongs to the worker's thread. Whatever moves something happens under the gate's
    lock; plans are made, and messages about a result are built, outside of it.
    """

    def __init__(self, config: NodeConfig, ros: RosInterface, status: NodeStatus,
                 gate: CommandGate, inputs: InputChecks, black_box: BlackBox | None) -> None:
        """Start with nothing to move; :meth:`build` makes it."""
        self._config = config
        self._ros = ros
        self._status = status
        self._gate = gate
        self._inputs = inputs
        self._black_box = black_box
        self._mapper: JointMapper | None = None
        self._arm: Arm | None = None
        self._executed: Frame | None = None
        self._teleop_epoch = -1
        #: When the newest command of a teleoperator came, monotonic seconds.
        self._teleoperated = -math.inf
        self._last_command: JointCommand | None = None
        self._is_closed = False

    def build(self, spec: PolicySpec) -> None:
        """
        Make ready for a policy.

        :raises VlaError: robot, parameters and policy do not fit each other.
        """
        config = self._config
        self._arm = self._mapper = None
        if config.robot_file:
            # Imported only where a robot is moved: these need pinocchio and ruckig.
            from vla_ros.control.motion_setup import build_arm
            self._arm = build_arm(config, spec, self._ros.robot_description)
        elif config.teleop_enabled:
            raise ParameterError('teleop.enabled', True, 'false where no robot.file is set: a '
                                 "teleoperator's commands pass the robot's limits")
        elif config.output != 'joint_state':
            raise ParameterError('output', config.output,
                                 'joint_state where no robot.file is set')
        else:
            self._mapper = JointMapper(config.action_space, config.joint_names,
                                       spec.action_shape[1])
        self._inputs.use(self._arm)

    def close(self) -> None:
        """Send nothing more."""
        self._is_closed = True

    def complete(self, status: Status) -> Status:
        """Add what is known of the motion to a status."""
        arm = self._arm
        if arm is None:
            is_moving = status.context.state.is_moving
            old = self._inputs.describe_old_stamp() if is_moving else ''
            return replace(status, reason='; '.join(filter(None, (status.reason, old))))
        return replace(status, action_limits=arm.check.counts, coverage=arm.coverage)

    def send(self, result: InferenceResult) -> None:
        """
        Send a result: publish its command, or execute its trajectory, unless it is stale.

        :raises Hold: an input is too old, or an action limit holds the arm.
        :raises CommandError: the actions are no commands.
        """
        self._status.inferred()
        self._inputs.check_age(result.frame)
        execute = self._plan(result)
        published = 0

        def act() -> None:
            nonlocal published
            published = self._ros.now()
            execute()

        if self._gate.send(result.context, act):
            # Here, not under the lock: nothing that must be in time waits for this message.
            self._status.result_sent(self._ros.publish_result(result, published))
        else:
            self._status.discarded()
        if self._black_box is not None:
            taken = self._ros.stamp_of(result.frame.image)
            self._black_box.frame(result.frame.received, taken, '', result.rgb)
            self._black_box.result(result.ended, taken, result.chunk)

    def teleoperate(self, command: JointTarget | TipVelocity, context: CommandContext) -> bool:
        """
        Execute a teleoperator's command; in the thread that takes them.

        :param context: of its arrival.
        :returns: whether it was executed; else the takeover has ended meanwhile.
        :raises Hold: it cannot be used, joint states are too old, or a limit holds the arm.
        """
        arm = self._arm
        assert arm is not None and arm.teleop is not None, 'build has refused anything else'
        if context.epoch != self._teleop_epoch:
            arm.teleop.restart()
            self._teleop_epoch = context.epoch
        hold = self._inputs.find_stale_joints()
        if hold is not None:
            raise hold
        now = self._motion_time()
        trajectory = arm.teleop.plan(command, self._gate.read(lambda _: arm.plan_start(now)))

        def act() -> None:
            self._teleoperated = time.monotonic()
            self._execute(arm, trajectory, None)

        return self._gate.send(context, act)

    def tick(self) -> bool:
        """
        Send what is due, or hold for what is wrong.

        :returns: whether the state has changed.
        """
        return self._gate.tick(partial(self._step, self._inputs.find_jump()))

    def due(self) -> float:
        """
        Return the monotonic seconds at which an input gets too old to move by; infinity for never.

        A tick is due then: it holds the arm, whatever the rate of ticks is. It is due at once
        where a controller has to be stopped. By simulated time it cannot be foreseen, and is left
        to the ticks.
        """
        state = self._gate.context.state
        if self._arm is not None and not self._is_closed \
                and self._arm.must_stop(state, self._motion_time()):
            return 0.0  # at once: a controller would go on with what it has
        if self._ros.is_simulated() or not state.is_moving:
            return math.inf
        if state.is_teleoperated:
            return min(self._inputs.joints_due(), self._gate.deadman_due(),
                       self._teleoperated + self._config.teleop_timeout)
        return self._inputs.due()

    def _plan(self, result: InferenceResult) -> Callable[[], None]:
        """Return what executes a result; that is called under the gate's lock."""
        arm = self._arm
        if arm is None:
            assert self._mapper is not None, 'the gate is open only after configure'
            command = self._mapper.command(result.chunk.actions[0],
                                           self._inputs.measurements.positions)
            return partial(self._publish_command, command, result)
        now = self._motion_time()
        observed = self._ros.motion_time() - self._inputs.age(result.frame)
        trajectory = arm.plan(result.chunk,
                              self._gate.read(lambda _: arm.plan_start(now, observed)))
        return partial(self._execute, arm, trajectory, result.frame)

    def _publish_command(self, command: JointCommand, result: InferenceResult) -> None:
        self._last_command = command
        self._ros.publish_command(command, result.frame.image, result.context.state.shadow)
        self._status.sent()

    def _execute(self, arm: Arm, trajectory: ActionTrajectory, frame: Frame | None) -> None:
        self._executed = frame
        arm.execute(trajectory)

    def _step(self, jump: str, context: CommandContext) -> Hold | None:
        """Send what is due; called under the gate's lock."""
        hold = self._handle_jump(jump, context.state)
        if hold is None and context.state.is_moving:
            hold = (self._find_silence() if context.state.is_teleoperated else
                    self._inputs.find_stale_input())
        if hold is not None:
            return hold
        if self._is_closed:
            return None
        if self._arm is None:
            self._hold_directly(context)
            return None
        # Read together: what is planned for the one time is stamped with the other.
        now, stamp = self._motion_time(), self._ros.now()
        try:
            command = self._arm.tick(context.state, now)
        except Hold as hold:
            return hold
        if command is not None and self._gate.may_send():
            frame = self._executed if context.state.is_moving else None
            self._ros.publish_motion(command, frame and frame.image,
                                     stamp + round(1e9 * self._config.lead))
            self._status.sent()
            self._note_command(command)
        return None

    def _find_silence(self) -> Hold | None:
        """Return why a takeover may not move the arm on; it needs no image."""
        silence = time.monotonic() - self._teleoperated
        if silence >= self._config.teleop_timeout:
            return Hold(Reason.TELEOPERATION, f'no command for {silence:.3f} s, teleop.timeout is '
                                              f'{self._config.teleop_timeout:g} s')
        return self._inputs.find_stale_joints()

    def _handle_jump(self, jump: str, state: State) -> Hold | None:
        if not jump:
            return None
        if self._arm is not None:
            self._arm.forget()
        # An image of the new time may come before the clock, look stale and hold the arm: then
        # this gives the true reason.
        is_news = state.is_moving or (state.mode is Mode.HOLD
                                      and state.reason is not Reason.CLOCK_JUMPED)
        return Hold(Reason.CLOCK_JUMPED, jump) if is_news else None

    def _hold_directly(self, context: CommandContext) -> None:
        """Keep joints where they were measured, or commanded if they were not measured."""
        command = self._last_command
        if context.state.mode is not Mode.HOLD or not context.state.active or command is None \
                or self._inputs.is_raw:
            return
        measured = self._inputs.measurements.positions
        positions = tuple(measured.get(name, position)
                          for name, position in zip(command.names, command.positions))
        if self._gate.may_send():
            self._ros.publish_command(JointCommand(command.names, positions), None,
                                      context.state.shadow)
            self._status.sent()

    def _note_command(self, command: ArmCommand) -> None:
        if self._black_box is not None:
            self._black_box.joints(self._ros.now(), black_box.COMMANDS, command.names,
                                   command.setpoint.positions.tolist(),
                                   command.setpoint.velocities.tolist())

    def _motion_time(self) -> float:
        """Return the time that commands are planned for: the present, or a little later."""
        return self._ros.motion_time() + self._config.lead
