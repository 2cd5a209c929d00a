# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Turns a policy's action into joint targets or a pose by its declared action space."""

from dataclasses import dataclass

import numpy as np

from vla_ros.data.datasets import DatasetDescription
from vla_ros.errors import ParameterError
from vla_ros.motion import rotations
from vla_ros.robot.description import Robot

#: Numbers of an end-effector action beside the gripper: x y z and three of rotation.
_POSE_NUMBERS = 6


@dataclass(frozen=True)
class Pose:
    """
    Pose of the tip in the base frame.

    :param position: float64 (3,), m.
    :param rotation: float64 (3, 3).
    """

    position: np.ndarray
    rotation: np.ndarray

    def towards(self, other: 'Pose', fraction: float) -> 'Pose':
        """Interpolate: 0 gives this pose, 1 the other one."""
        turn = rotations.vector(self.rotation.T @ other.rotation)
        return Pose(self.position + fraction * (other.position - self.position),
                    self.rotation @ rotations.axis_angle(fraction * turn))


class ActionReader:
    """Maps an action's dimensions to the joints or the tip of one robot."""

    def __init__(self, dataset: DatasetDescription, robot: Robot, dimensions: int) -> None:
        """
        Check that action space, robot and checkpoint fit each other.

        :param dimensions: D of the policy's actions.
        :raises DatasetError: a property of the action is not declared.
        :raises ParameterError: they do not fit.
        """
        self.dataset = dataset.require_motion()
        self._robot = robot
        self._grippers = dataset.grippers or ()
        #: Places of the grippers in an action.
        self.gripper_indices = [gripper.index for gripper in self._grippers]
        self._arm_indices = [index for index in range(dimensions)
                             if index not in self.gripper_indices]
        wanted = _POSE_NUMBERS if self.is_cartesian else len(robot.joints)
        if max(self.gripper_indices, default=0) >= dimensions or len(self._arm_indices) != wanted:
            raise ParameterError(
                'action.space', f'{dataset.space} of {dataset.key}',
                f'one whose {wanted} numbers and {len(self._grippers)} grippers (at '
                f"{self.gripper_indices}) make up the checkpoint's {dimensions}")
        if len(self._grippers) > len(robot.grippers):
            raise ParameterError('robot grippers', [g.joint for g in robot.grippers],
                                 f'at least the {len(self._grippers)} that {dataset.key} moves')

    @property
    def is_cartesian(self) -> bool:
        """Whether an action moves the tip rather than joints."""
        return str(self.dataset.space).startswith('eef')

    def pose(self, action: np.ndarray, reference: Pose, share: float = 1.0) -> Pose:
        """
        Return the target pose of an action.

        :param action: float64 (D,), of an end-effector space.
        :param reference: the pose that a delta starts from.
        :param share: of a delta that is left to do.
        """
        numbers = action[self._arm_indices]
        is_delta = self.dataset.space == 'eef_delta'
        gain = share * (self.dataset.delta_gain or 1.0) if is_delta else 1.0
        translation = numbers[:3] * gain * (self.dataset.position_unit_m or 1.0)
        turn = rotations.BY_NAME[str(self.dataset.rotation)]
        rotation = turn(numbers[3:] * gain * (self.dataset.rotation_unit_rad or 1.0))
        if self.dataset.space == 'eef_pose':
            return Pose(translation, rotation)
        if self.dataset.frame == 'base':
            return Pose(reference.position + translation, rotation @ reference.rotation)
        return Pose(reference.position + reference.rotation @ translation,
                    reference.rotation @ rotation)

    def joints(self, action: np.ndarray, reference: np.ndarray,
               share: float = 1.0) -> np.ndarray:
        """
        Return the target joint positions of an action.

        :param action: float64 (D,), of a joint space.
        :param reference: float64 (J,), what a delta starts from, rad.
        :param share: of a delta that is left to do.
        """
        numbers = action[self._arm_indices]
        return reference + share * numbers if self.dataset.space == 'joint_delta' else numbers

    def grippers(self, action: np.ndarray, reference: np.ndarray,
                 share: float = 1.0) -> np.ndarray:
        """
        Return the target positions of the robot's G gripper joints.

        Values beyond open or closed are outliers of a dataset and are clipped.

        :param action: float64 (D,).
        :param reference: float64 (G,), their last targets; grippers that the dataset does not
            move keep them.
        :param share: of a delta that is left to do.
        """
        positions = reference.copy()
        for index, (gripper, joint) in enumerate(zip(self._grippers, self._robot.grippers)):
            change = share * action[gripper.index] / (gripper.open - gripper.closed)
            opening = (joint.opening(float(reference[index])) + change
                       if gripper.command == 'delta'
                       else (action[gripper.index] - gripper.closed)
                       / (gripper.open - gripper.closed))
            positions[index] = joint.position(min(max(opening, 0.0), 1.0))
        return positions
