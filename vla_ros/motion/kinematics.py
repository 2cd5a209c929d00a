# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Forward and inverse kinematics of an arm, on top of pinocchio."""

from dataclasses import dataclass
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np

from vla_ros.errors import VlaError
from vla_ros.motion.action_space import Pose
from vla_ros.robot.description import Robot
from vla_ros.robot.description import RobotError
from vla_ros.util.packages import missing_package


class Unreachable(VlaError):
    """
    A pose that the arm cannot reach within tolerance from where it is.

    :param nearest: float64 (J,), joint positions within their limits whose pose is the nearest
        that was found without a large turn of a joint, rad; None if there is no telling.
    """

    def __init__(self, problem: str, nearest: np.ndarray | None = None) -> None:
        super().__init__(f'unreachable: {problem}')
        self.problem = problem
        self.nearest = nearest


@dataclass(frozen=True)
class Search:
    """
    How joint positions are searched for.

    :param distance: tolerance of the position, m.
    :param angle: tolerance of the rotation, rad.
    :param steps: after so many the pose counts as unreachable.
    :param damping: least damping; more makes singular arms slower.
    :param posture: share of the way to the posture that is gone in the null space, each time.
    :param stride: largest change of a joint in one step, rad.
    :param turn: largest change of a joint from the seed, rad: near a singular position a small
        motion of the tip can take half a turn of a joint.
    """

    distance: float = 1e-4
    angle: float = 1e-3
    steps: int = 30
    damping: float = 1e-6
    posture: float = 0.02
    stride: float = 0.5
    turn: float = 1.0


class Kinematics:
    """
    Poses from joint positions and back; not thread-safe.

    The inverse is damped least squares: each step solves (J Jᵀ + λ² I) x = e and moves by Jᵀ x.
    λ² is half the square of the error plus a constant (Sugihara, IEEE Transactions on Robotics
    27(5), 2011): far from the goal and at singular positions steps are careful, near it they are
    Newton's. A joint that would leave its limits is taken out of the step and the rest solved
    anew. What is left over in a redundant arm's null space goes to the posture.
    """

    def __init__(self, robot: Robot, search: Search = Search()) -> None:
        """
        Build the model.

        :raises RobotError: URDF, frames or joints do not fit each other.
        :raises UnsupportedError: pinocchio is not installed.
        """
        try:
            import pinocchio
        except ImportError as error:
            raise missing_package('end-effector actions', error) from None
        self._pin = pinocchio
        self._search = search
        self._joints = len(robot.joints)
        self._names = robot.joints
        self._lower = robot.limits.lower[:self._joints]
        self._upper = robot.limits.upper[:self._joints]
        self._posture = robot.posture
        self._model = self._build(robot)
        self._data = self._model.createData()
        self._tip = self._frame(robot.tip_frame, 'tip_frame')
        self._base = self._frame(robot.base_frame, 'base_frame')
        # In the model's order of joints, which is the URDF's, not necessarily ours.
        self._order = np.array([self._model.joints[self._model.getJointId(name)].idx_v
                                for name in robot.joints])

    def pose(self, joints: np.ndarray) -> Pose:
        """Return the pose of the tip for joint positions, float64 (J,), rad."""
        placement = self._placement(joints)
        return Pose(placement.translation.copy(), placement.rotation.copy())

    def velocity(self, joints: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """
        Return the velocity of the tip in the base frame.

        :param joints: float64 (J,), rad.
        :param speeds: float64 (J,), rad/s.
        :returns: float64 (6,), linear m/s, then angular rad/s.
        """
        self._placement(joints)
        jacobian = self._pin.computeFrameJacobian(
            self._model, self._data, self._model_positions(joints), self._tip,
            self._pin.ReferenceFrame.LOCAL_WORLD_ALIGNED)[:, self._order]
        rotation = self._data.oMf[self._base].rotation.T
        twist = jacobian @ speeds
        return np.concatenate([rotation @ twist[:3], rotation @ twist[3:]])

    def solve(self, pose: Pose, seed: np.ndarray) -> np.ndarray:
        """
        Return joint positions for a pose, near to where the arm is.

        :param seed: float64 (J,), where the arm is, within its limits, rad.
        :returns: float64 (J,), within the limits.
        :raises Unreachable: no such positions were found.
        """
        goal = self._pin.SE3(pose.rotation, pose.position)
        joints = np.clip(seed, self._lower, self._upper)
        # Only the first step pulls towards the posture: what is straight in the null space is
        # curved in the arm, and would keep the search from coming to its end.
        pull = self._search.posture
        nearest, least = joints, math.inf
        for _ in range(self._search.steps):
            error, jacobian = self._linearised(goal, joints)
            if self._is_near(error):
                return self._checked(joints, seed)
            if error @ error < least and self._is_nearby(joints, seed):
                nearest, least = joints, float(error @ error)
            joints = self._step(joints, error, jacobian, pull)
            pull = 0.0
        raise self._failure(goal, joints, nearest)

    def _linearised(self, goal: Any, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the way to the goal, (6,), and the Jacobian, (6, J), both in the tip's axes."""
        pin, model, data = self._pin, self._model, self._data
        pin.computeJointJacobians(model, data, self._model_positions(joints))
        tip = pin.updateFramePlacement(model, data, self._tip)
        base = pin.updateFramePlacement(model, data, self._base)
        error = pin.log6(tip.actInv(base * goal)).vector
        jacobian = pin.getFrameJacobian(model, data, self._tip, pin.ReferenceFrame.LOCAL)
        return error, jacobian[:, self._order]

    def _is_near(self, error: np.ndarray) -> bool:
        return (math.hypot(*error[:3]) < self._search.distance
                and math.hypot(*error[3:]) < self._search.angle)

    def _checked(self, joints: np.ndarray, seed: np.ndarray) -> np.ndarray:
        if not self._is_nearby(joints, seed):
            turns = np.abs(joints - seed)
            most = int(turns.argmax())
            raise Unreachable(f'near a singular position: {self._names[most]} would turn by '
                              f'{turns[most]:.2f} rad, more than {self._search.turn:g}')
        return joints

    def _is_nearby(self, joints: np.ndarray, seed: np.ndarray) -> bool:
        return bool((np.abs(joints - seed) <= self._search.turn).all())

    def _step(self, joints: np.ndarray, error: np.ndarray, jacobian: np.ndarray,
              pull: float) -> np.ndarray:
        damping = 0.5 * float(error @ error) + self._search.damping
        free: np.ndarray = np.ones(self._joints, bool)
        while free.any():
            part = jacobian[:, free]
            damped = part @ part.T
            damped.flat[::7] += damping  # the diagonal of a 6 by 6 matrix
            step = np.zeros(self._joints)
            step[free] = part.T @ np.linalg.solve(damped, error)
            if pull and part.shape[1] > 6:
                wish = pull * (self._posture - joints)[free]
                step[free] += wish - part.T @ np.linalg.solve(damped, part @ wish)
            step *= self._search.stride / max(float(np.abs(step).max()), self._search.stride)
            wanted = joints + step
            stuck = free & (((wanted < self._lower) & (joints <= self._lower))
                            | ((wanted > self._upper) & (joints >= self._upper)))
            if not stuck.any():
                break
            free &= ~stuck
        else:
            return joints
        return np.minimum(np.maximum(wanted, self._lower), self._upper)

    def _failure(self, goal: Any, joints: np.ndarray, nearest: np.ndarray) -> Unreachable:
        error, _ = self._linearised(goal, joints)
        at_limit = [name for name, position, lower, upper
                    in zip(self._names, joints, self._lower, self._upper)
                    if position <= lower or position >= upper]
        cause = f'{", ".join(at_limit)} at a limit' if at_limit else 'out of reach'
        return Unreachable(f'{1000 * math.hypot(*error[:3]):.1f} mm and '
                           f'{math.degrees(math.hypot(*error[3:])):.2f} degrees are missing '
                           f'({cause})', nearest)

    def _placement(self, joints: np.ndarray) -> Any:
        self._pin.framesForwardKinematics(self._model, self._data, self._model_positions(joints))
        return self._data.oMf[self._base].actInv(self._data.oMf[self._tip])

    def _model_positions(self, joints: np.ndarray) -> np.ndarray:
        positions = np.empty(self._joints)
        positions[self._order] = joints
        return positions

    def _build(self, robot: Robot) -> Any:
        try:
            model = self._pin.buildModelFromXML(_arm_only(robot))
        except (ValueError, RuntimeError, ElementTree.ParseError) as error:
            raise RobotError(f'pinocchio cannot read the URDF: {error}') from None
        missing = [name for name in robot.joints if not model.existJointName(name)]
        if missing:
            raise RobotError(f'the URDF has no moving joint {", ".join(missing)}')
        return model

    def _frame(self, name: str, what: str) -> int:
        if not self._model.existFrame(name):
            known = ', '.join(frame.name for frame in self._model.frames
                              if frame.type == self._pin.FrameType.BODY)
            raise RobotError(f'{what} {name!r} is no link of the URDF; it has {known}')
        return self._model.getFrameId(name)


def _arm_only(robot: Robot) -> str:
    """
    Return the URDF with no moving joints but the arm's, and those revolute or prismatic.

    A continuous joint is two numbers (cosine and sine) to pinocchio; with the limits that the
    robot's file must give, it is a revolute one to us. Wheels, mimic fingers and joints of kinds
    that pinocchio does not know rest where they are, which a fixed joint says.
    """
    root = ElementTree.fromstring(robot.urdf)
    limits = robot.limits
    for joint in root.findall('joint'):
        name = joint.get('name', '')
        for mimic in joint.findall('mimic'):
            joint.remove(mimic)
        if name not in robot.joints:
            joint.set('type', 'fixed')
            for limit in joint.findall('limit'):
                joint.remove(limit)
            continue
        if joint.get('type') == 'continuous':
            joint.set('type', 'revolute')
        found = joint.find('limit')
        limit = ElementTree.SubElement(joint, 'limit') if found is None else found
        index = limits.names.index(name)
        for field in ('lower', 'upper', 'velocity'):
            limit.set(field, repr(float(getattr(limits, field)[index])))
        limit.set('effort', limit.get('effort', '0'))
    return ElementTree.tostring(root, encoding='unicode')
