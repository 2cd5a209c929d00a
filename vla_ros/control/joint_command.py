# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From the numbers of an action to names and positions of a joint command."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vla_ros.errors import CommandError
from vla_ros.errors import NotFinite
from vla_ros.errors import NotMeasured
from vla_ros.errors import ParameterError

ACTION_SPACES = ('raw', 'dataset', 'joint_position', 'joint_delta', 'eef_delta', 'eef_pose')
#: Those that need no robot.
DIRECT_SPACES = ('raw', 'joint_position', 'joint_delta')

#: Names of the seven dimensions of an end-effector action; no driver has joints of these names.
END_EFFECTOR_NAMES = ('x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper')


@dataclass(frozen=True)
class JointCommand:
    """
    Where each named joint (``raw``: each action dimension) is to be.

    :param positions: one number for each name: rad for a revolute joint, m for a prismatic one;
        in the ``raw`` space the dataset's own units.
    """

    names: tuple[str, ...]
    positions: tuple[float, ...]


class JointMapper:
    """Turns actions of one declared space into joint commands."""

    def __init__(self, space: str, joint_names: tuple[str, ...], dimensions: int) -> None:
        """
        Check that space, names and actions fit each other.

        :param space: one of :data:`DIRECT_SPACES`.
        :param joint_names: joint of each dimension; empty for ``raw``.
        :param dimensions: D of the policy's actions.
        :raises ParameterError: they do not fit.
        """
        if space not in DIRECT_SPACES:
            raise ParameterError('action.space', space, f'one of {", ".join(DIRECT_SPACES)} '
                                 'where no robot.file is set: the others need a robot')
        if space == 'raw' and joint_names:
            raise ParameterError('action.joint_names', list(joint_names),
                                 'empty where action.space is raw: raw numbers are no joints')
        if space != 'raw' and len(joint_names) != dimensions:
            raise ParameterError(
                'action.joint_names', list(joint_names),
                f'{dimensions} names where action.space is {space}: '
                f"one for each dimension of the checkpoint's action")
        if len(set(joint_names)) != len(joint_names):
            raise ParameterError('action.joint_names', list(joint_names), 'without repetition')
        self._space = space
        self._dimensions = dimensions
        self._names = joint_names or _dimension_names(dimensions)

    def command(self, action: np.ndarray, measured: Mapping[str, float]) -> JointCommand:
        """
        Map one action.

        :param action: float64 (D,), un-normalised.
        :param measured: last measured position by joint name, rad or m.
        :raises CommandError: the action has another size, is not finite, or a joint that a delta
            needs was not measured.
        """
        if action.shape != (self._dimensions,):
            raise CommandError(f'the action has shape {action.shape}, '
                               f'the checkpoint promised ({self._dimensions},)')
        if not np.isfinite(action).all():
            raise NotFinite(f'the action is not finite: {action.tolist()}')
        if self._space == 'joint_delta':
            action = action + self._measured(measured)
        return JointCommand(self._names, tuple(action.tolist()))

    def _measured(self, measured: Mapping[str, float]) -> np.ndarray:
        missing = [name for name in self._names if name not in measured]
        if missing:
            raise NotMeasured(f'no measured position of {", ".join(missing)}: '
                              'a joint_delta needs joint_states of every joint it moves')
        positions = np.array([measured[name] for name in self._names])
        if not np.isfinite(positions).all():
            raise CommandError('a measured joint position is not finite: '
                               f'{dict(zip(self._names, positions.tolist()))}')
        return positions


def _dimension_names(dimensions: int) -> tuple[str, ...]:
    if dimensions == len(END_EFFECTOR_NAMES):
        return END_EFFECTOR_NAMES
    return tuple(f'dim_{index}' for index in range(dimensions))
