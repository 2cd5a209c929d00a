# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Plans a teleoperator's commands: one more source of waypoints, within the policy's limits."""

from dataclasses import dataclass
from dataclasses import replace
import math

import numpy as np

from vla_ros.motion import rotations
from vla_ros.motion.action_check import ActionCheck
from vla_ros.motion.action_space import Pose
from vla_ros.motion.executor import ActionTrajectory
from vla_ros.motion.executor import PlanStart
from vla_ros.motion.executor import Waypoint
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.kinematics import Unreachable
from vla_ros.robot.description import Robot
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason

#: A trajectory of a teleoperator holds one action, which has no numbers of a policy.
_NO_NUMBERS = np.empty((1, 0))


@dataclass(frozen=True)
class JointTarget:
    """
    Absolute positions: of all joints of the arm, of grippers, or of both.

    :param positions: rad or m, in the order of the names.
    """

    names: tuple[str, ...]
    positions: tuple[float, ...]


@dataclass(frozen=True)
class TipVelocity:
    """
    Velocity of the tip.

    :param linear: x y z, m/s.
    :param angular: x y z, rad/s.
    :param frame: whose axes are meant: the robot's ``base_frame`` or ``tip_frame``.
    """

    linear: tuple[float, float, float]
    angular: tuple[float, float, float]
    frame: str


class TeleopPlanner:
    """
    Turns a command into a trajectory of one action; used by one thread.

    A gripper is commanded by itself, or with the arm: the newest command of each counts.
    """

    def __init__(self, robot: Robot, check: ActionCheck, period: float, max_distance: float,
                 kinematics: Kinematics | None) -> None:
        """
        Prepare.

        :param period: seconds that a command is given.
        :param max_distance: of a target from where the arm is commanded to be, rad or m.
        :param kinematics: not the executor's, which another thread uses; None for a robot without
            a tip.
        """
        self._robot = robot
        self._check = check
        self._period = period
        self._max_distance = max_distance
        self._kinematics = kinematics
        self._arm = slice(len(robot.joints))
        self._hand = slice(len(robot.joints), None)
        self.restart()

    def restart(self) -> None:
        """Discard the commands so far: grippers stay where they are, and the arm as well."""
        self._grip = np.full(len(self._robot.grippers), math.nan)
        self._motion: np.ndarray | TipVelocity | None = None
        self._moves_until = -math.inf

    def plan(self, command: JointTarget | TipVelocity, plan_start: PlanStart) -> ActionTrajectory:
        """
        Plan a command, within every limit; nothing moves by that.

        :raises Hold: it cannot be read, is too far away, or a limit holds the arm.
        """
        motion = (self._read_velocity(command) if isinstance(command, TipVelocity) else
                  self._read_target(command))
        if motion is not None:
            self._motion, self._moves_until = motion, plan_start.now + self._period
        start = plan_start.waypoint
        arm, pose = self._end(start, plan_start.now)
        hand = np.where(np.isnan(self._grip), start.joints[self._hand], self._grip)
        joints = self._check.target(np.concatenate([arm, hand]), start.joints, plan_start.speeds,
                                    self._period)
        if pose is None or not np.array_equal(joints[self._arm], arm):
            pose = self._checked(joints[self._arm])
        return ActionTrajectory(plan_start.now, self._period, (start, Waypoint(joints, pose)),
                                _NO_NUMBERS)

    def _read_target(self, command: JointTarget) -> np.ndarray | None:
        """Update the grippers; return the arm's joints, float64 (J,), None where it has none."""
        names, positions = command.names, command.positions
        if len(names) != len(positions) or len(set(names)) != len(names) or not names:
            raise _held(f'{len(names)} names and {len(positions)} positions: each joint has one '
                        'name and one position')
        unknown = [name for name in names if name not in self._robot.names]
        if unknown:
            raise _held(f'{", ".join(unknown[:8])} is no joint of the robot, which has '
                        f'{", ".join(self._robot.names)}')
        self._check.finite(np.array([positions]))
        named = dict(zip(names, positions))
        for index, gripper in enumerate(self._robot.grippers):
            self._grip[index] = named.pop(gripper.joint, self._grip[index])
        missing = [name for name in self._robot.joints if name not in named]
        if named and missing:
            raise _held(f'{", ".join(missing)} is missing: a command has all joints of the arm, '
                        'or grippers alone')
        return np.array([named[name] for name in self._robot.joints]) if named else None

    def _read_velocity(self, command: TipVelocity) -> TipVelocity:
        robot = self._robot
        if self._kinematics is None:
            raise _held("the robot's file names no tip_frame, which a twist moves: send joint "
                        'positions')
        if command.frame not in (robot.base_frame, robot.tip_frame):
            raise _held(f'a twist in the frame {command.frame!r}: it must be {robot.base_frame} '
                        f'(base) or {robot.tip_frame} (tip)')
        self._check.finite(np.array([[*command.linear, *command.angular]]))
        return command

    def _end(self, start: Waypoint, now: float) -> tuple[np.ndarray, Pose | None]:
        """Return where the arm is to be one period later, float64 (J,), and the tip's pose."""
        joints = start.joints[self._arm]
        # A velocity counts for one period: a gripper's command must not prolong it.
        if self._motion is None or now >= self._moves_until:
            return joints, start.pose
        if isinstance(self._motion, np.ndarray):
            distances = np.abs(self._motion - joints)
            most = int(distances.argmax())
            if distances[most] > self._max_distance:
                raise _held(f'{self._robot.joints[most]} of the teleoperator is '
                            f'{distances[most]:.3f} away from the arm, teleop.max_distance is '
                            f'{self._max_distance:g}: bring it nearer')
            return self._motion, None
        assert self._kinematics is not None, 'a velocity was read'
        pose = self._moved(start.pose or self._kinematics.pose(joints), self._motion)
        pose = replace(pose, position=self._check.tip(pose.position))
        try:
            return self._kinematics.solve(pose, joints), pose
        except Unreachable as error:
            nearest = self._check.unreachable(error.nearest, error.problem)
            return nearest, self._kinematics.pose(nearest)

    def _checked(self, joints: np.ndarray) -> Pose | None:
        """Return the tip's pose for joints, float64 (J,), which is to be in the workspace."""
        if self._kinematics is None:
            return None
        pose = self._kinematics.pose(joints)
        if not np.array_equal(self._check.tip(pose.position), pose.position):
            raise _held('the joints would take the tip out of the workspace')
        return pose

    def _moved(self, pose: Pose, velocity: TipVelocity) -> Pose:
        step = self._period * np.array(velocity.linear)
        turn = rotations.axis_angle(self._period * np.array(velocity.angular))
        if velocity.frame == self._robot.base_frame:
            return Pose(pose.position + step, turn @ pose.rotation)
        return Pose(pose.position + pose.rotation @ step, pose.rotation @ turn)


def _held(problem: str) -> Hold:
    return Hold(Reason.TELEOPERATION, problem)
