# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Where the tip of the arm is going, as a camera sees it: for people to look at."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from vla_ros.camera.projection import Calibration
from vla_ros.control.motion_setup import declared_actions
from vla_ros.control.parameters import NodeConfig
from vla_ros.errors import ParameterError
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.rotations import quaternion
from vla_ros.robot.description import load_robot

#: Points from one action to the next: joints that turn lead the tip along a curve.
_STEPS = 6


class TipPath:
    """Computes the path that actions ask of the tip; not thread-safe."""

    def __init__(self, config: NodeConfig, urdf: str, camera_pose: Sequence[float]) -> None:
        """
        Build the arm's kinematics.

        :param config: ``robot.file`` and what describes actions are used.
        :param urdf: the URDF's text; empty: as ``robot.file`` says.
        :param camera_pose: of the camera's optical frame in the arm's base frame: x y z in m, then
            the quaternion x y z w, as ``tf2_echo`` prints them.
        :raises VlaError: something is missing or not valid.
        """
        self._config = config
        self._robot = load_robot(config.robot_file, urdf or None)
        self._kinematics = Kinematics(self._robot)
        self._position, self._rotation = _read_pose(camera_pose)
        self._reader: tuple[tuple[str, int], ActionReader] | None = None

    def project(self, actions: np.ndarray, unnorm_key: str, joints: Mapping[str, float],
                calibration: Calibration) -> np.ndarray:
        """
        Return the path from where the tip is, through every action.

        :param actions: float64 (T, D), in the dataset's units.
        :param unnorm_key: the dataset.
        :param joints: measured positions by name, rad and m.
        :returns: float64 (N, 2), see :meth:`vla_ros.camera.projection.Calibration.project`.
        :raises VlaError: the actions of the dataset are not known, or a joint is not measured.
        """
        reader = self._choose_reader(unnorm_key, actions.shape[1])
        missing = [name for name in self._robot.joints if name not in joints]
        if missing:
            raise ParameterError('joint_states', sorted(joints),
                                 f'with {", ".join(missing)}')
        here = np.array([joints[name] for name in self._robot.joints])
        points = (self._follow_poses(reader, actions, here) if reader.is_cartesian
                  else self._follow_joints(reader, actions, here))
        return calibration.project((points - self._position) @ self._rotation)

    def _follow_poses(self, reader: ActionReader, actions: np.ndarray,
                      joints: np.ndarray) -> np.ndarray:
        pose = self._kinematics.pose(joints)
        points = [pose.position]
        for action in actions:
            pose = reader.pose(action, pose)
            points.append(pose.position)
        return np.array(points)

    def _follow_joints(self, reader: ActionReader, actions: np.ndarray,
                       joints: np.ndarray) -> np.ndarray:
        points = [self._kinematics.pose(joints).position]
        for action in actions:
            goal = reader.joints(action, joints)
            points += [self._kinematics.pose(joints + share * (goal - joints)).position
                       for share in np.linspace(0.0, 1.0, _STEPS + 1)[1:]]
            joints = goal
        return np.array(points)

    def _choose_reader(self, unnorm_key: str, dimensions: int) -> ActionReader:
        key = (unnorm_key, dimensions)
        if self._reader is None or self._reader[0] != key:
            dataset = declared_actions(self._config, unnorm_key)
            self._reader = key, ActionReader(dataset, self._robot, dimensions)
        return self._reader[1]


def _read_pose(numbers: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """
    Read position and quaternion.

    :returns: float64 (3,) and the rotation matrix, float64 (3, 3).
    """
    values = np.array(numbers, np.float64)
    if values.shape != (7,) or not np.isfinite(values).all() \
            or abs(np.linalg.norm(values[3:]) - 1.0) > 0.01:
        raise ParameterError('camera.pose', list(numbers), 'seven numbers: x y z in m, and the '
                             'unit quaternion x y z w, of the camera in the base frame')
    return values[:3], quaternion(values[3:] / np.linalg.norm(values[3:]))
