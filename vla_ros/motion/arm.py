# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The arm that a policy moves: its state of motion, from measurements to setpoints."""

from dataclasses import dataclass
from dataclasses import replace
import math
import time
from typing import Protocol

import numpy as np

from vla_ros.motion.action_check import ActionCheck
from vla_ros.motion.coverage import Coverage
from vla_ros.motion.executor import ActionTrajectory
from vla_ros.motion.executor import PlanStart
from vla_ros.motion.executor import Setpoint
from vla_ros.motion.executor import TrajectoryExecutor
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.lookahead import Lookahead
from vla_ros.motion.measurements import Measurements
from vla_ros.motion.teleop import TeleopPlanner
from vla_ros.policy.base import ActionChunk
from vla_ros.robot.description import Robot
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason


#: Seconds for which a measurement tells where a held arm is.
_FRESH = 0.5


@dataclass(frozen=True)
class ArmCommand:
    """
    A command for the joints at one moment.

    :param names: of the joints, N: of the arm, then of the grippers.
    :param arm: so many of them are the arm's.
    :param is_shadow: for the shadow topic, not for the arm.
    :param is_last: nothing follows; a controller that would go on by itself stops.
    :param lookahead: how the motion goes on; only where wanted.
    :param twist: of the tip in the base frame, float64 (6,), m/s and rad/s; only where wanted.
    """

    names: tuple[str, ...]
    arm: int
    setpoint: Setpoint
    base_frame: str
    is_shadow: bool
    is_last: bool = False
    lookahead: Lookahead | None = None
    twist: np.ndarray | None = None


class ArmState(Protocol):
    """What the arm needs of the node's state."""

    @property
    def shadow(self) -> bool:
        """Whether commands go to the shadow topic."""

    @property
    def is_moving(self) -> bool:
        """Whether the arm moves by actions."""

    @property
    def is_held(self) -> bool:
        """Whether the arm is kept where it is."""

    @property
    def holds_gripper(self) -> bool:
        """Whether grippers stay at their command when the arm rests."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing is sent to the arm."""


class Arm:
    """
    Executes the actions of a policy, and holds in the states of a hold.

    :meth:`plan_start`, :meth:`execute` and :meth:`tick` are called under the lock of
    :class:`vla_ros.control.command_gate.CommandGate`, :meth:`plan` by the worker alone and
    without it: it takes milliseconds.
    """

    def __init__(self, robot: Robot, executor: TrajectoryExecutor, check: ActionCheck,
                 lookahead: float = 0.0, twist: Kinematics | None = None,
                 teleop: TeleopPlanner | None = None) -> None:
        """
        Start with nothing known.

        :param lookahead: seconds for which a command says how the motion goes on; 0: not at all.
        :param twist: for the velocity of the tip, where that is wanted; not the executor's,
            which another thread uses.
        :param teleop: plans a teleoperator's commands; None where there is none.
        """
        self.teleop = teleop
        self.measurements = Measurements(robot.names)
        self.check = check
        self._robot = robot
        self._executor = executor
        self._lookahead = lookahead
        self._twist = twist
        self._was_shadow = False
        #: Until when a controller that receives nothing more goes on moving by itself.
        self._moves_until = -math.inf

    @property
    def joints(self) -> tuple[str, ...]:
        """The joints without whose positions nothing moves."""
        return self._robot.joints

    @property
    def coverage(self) -> Coverage:
        """Share of the motion that the results cover."""
        return self._executor.meter.coverage

    @property
    def measured(self) -> np.ndarray | None:
        """Measured positions of these joints, float64 (J,), rad; None while one is unknown."""
        positions = self.measurements.vector(self.joints)
        return None if np.isnan(positions).any() else positions

    def plan_start(self, now: float, observed: float | None = None) -> PlanStart:
        """
        Return what new actions start from.

        :param observed: seconds at which their image was taken; None for now.
        :raises Hold: it is not known where the arm is, or it is beyond its limits.
        """
        if not self._executor.is_started:
            missing = self.measurements.missing(self.joints)
            if missing:
                raise Hold(Reason.STALE_JOINTS, f'no measured position of {", ".join(missing)}: '
                                                'joint_states must give every joint of the arm')
            self._executor.start(self._measured(), now)
        return self._executor.plan_start(now, observed)

    def plan(self, chunk: ActionChunk, plan_start: PlanStart) -> ActionTrajectory:
        """
        Plan the actions of a result in time, within every limit.

        :raises Hold: a limit holds the arm.
        """
        self.check.margins(chunk.margins)
        return self._executor.plan(chunk.actions, plan_start)

    def execute(self, trajectory: ActionTrajectory) -> None:
        """Follow a trajectory from now on."""
        self._executor.execute(trajectory)

    def forget(self) -> None:
        """Start anew from measured positions: time has jumped."""
        self._executor.reset()
        self._moves_until = -math.inf

    def must_stop(self, state: ArmState, now: float) -> bool:
        """Whether nothing may move any more, and a controller still moves."""
        return now < self._moves_until and self._must_not_move(state)

    def tick(self, state: ArmState, now: float) -> ArmCommand | None:
        """
        Return the command that is due now; None for nothing.

        :raises Hold: the arm does not follow.
        """
        self._executor.catch_up(now)
        if self._must_not_move(state):
            # In an emergency stop the arm's motion is unknown: it has to be measured anew.
            last = self._last_command(state, now)
            self.forget()
            self._was_shadow = state.shadow
            return last
        if state.is_held and not self._executor.is_started:
            self._start_to_hold(now)
        if not self._executor.is_started:
            return None
        if state.is_moving:
            return self._move(state, now)
        self._executor.hold(now)
        # With a twist output a velocity towards the measured position would move the arm away.
        age = self.measurements.age(self.joints, time.monotonic())
        is_known = self._twist is None and age < _FRESH
        return self._command(self._executor.sample(
            now, self._find_rest(state, now) if is_known else None), now)

    def _must_not_move(self, state: ArmState) -> bool:
        is_switched = state.shadow != self._was_shadow
        return is_switched or state.is_silent

    def _last_command(self, state: ArmState, now: float) -> ArmCommand | None:
        """Return the command that stops a controller which would go on by itself."""
        if not self._executor.is_started or not self.must_stop(state, now):
            return None
        self._executor.hold(now)
        command = replace(self._command(self._executor.sample(now), now), is_last=True)
        return command if command.twist is None else replace(command, twist=np.zeros(6))

    def _move(self, state: ArmState, now: float) -> ArmCommand:
        setpoint = self._executor.sample(now)
        if not state.shadow:
            self.check.following(setpoint.positions, self._measured())
        return self._command(setpoint, now)

    def _find_rest(self, state: ArmState, now: float) -> np.ndarray:
        """Return where a held arm rests, float64 (N,): where it is."""
        rest = self._measured()
        if state.holds_gripper:
            # A gripper that holds something is measured further open than it is commanded to be.
            hands = slice(len(self.joints), None)
            rest[hands] = self._executor.plan_start(now).waypoint.joints[hands]
        return rest

    def _start_to_hold(self, now: float) -> None:
        if self.measurements.missing(self.joints):
            return
        try:
            self._executor.start(self._measured(), now)
        except Hold:
            return  # beyond its limits: there is no position that might be commanded

    def _measured(self) -> np.ndarray:
        positions = self.measurements.vector(self._robot.names)
        hands = positions[len(self.joints):]
        for index, gripper in enumerate(self._robot.grippers):
            if math.isnan(hands[index]):  # many grippers are not among the joint states
                hands[index] = gripper.open
        return positions

    def _command(self, setpoint: Setpoint, now: float) -> ArmCommand:
        command = ArmCommand(self._robot.names, len(self.joints), setpoint,
                             self._robot.base_frame, self._was_shadow)
        self._moves_until = -math.inf
        if self._lookahead:
            ahead = self._executor.look_ahead(now, self._lookahead)
            command = replace(command, lookahead=ahead)
            if setpoint.is_moving:
                self._moves_until = now + float(ahead.times[-1])
        if self._twist is not None:
            arm = slice(len(self.joints))
            command = replace(command, twist=self._twist.velocity(setpoint.positions[arm],
                                                                  setpoint.velocities[arm]))
            if setpoint.is_moving:
                self._moves_until = math.inf  # until its timeout, which is not known here
        return command
