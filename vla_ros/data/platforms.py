# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The constants of OpenVLA-OFT that no file of a checkpoint holds: chunk length and normalisation.

The official code picks one of three sets by looking for a robot's name in the command line. Here
the checkpoint decides: the sizes of its action and state, then the name of its dataset; what the
user declares goes over both.
"""

from dataclasses import dataclass

from vla_ros.data.datasets import DatasetDescription
from vla_ros.errors import ParameterError


@dataclass(frozen=True)
class Platform:
    """
    One set of constants, from prismatic/vla/constants.py of moojink/openvla-oft.

    :param state: what the numbers of the robot's state are.
    :param has_joint_state: whether they are joint positions.
    """

    name: str
    chunk_length: int
    action_dim: int
    proprio_dim: int
    normalization: str
    state: str
    has_joint_state: bool


PLATFORMS = (Platform('libero', 8, 7, 8, 'bounds_q99', 'position of the end effector, its '
                      'rotation as axis-angle, two gripper joints', False),
             Platform('aloha', 25, 14, 14, 'bounds', 'joint positions of both arms', True),
             Platform('bridge', 5, 7, 7, 'bounds_q99', 'pose of the end effector and gripper',
                      False))


def find_platform(unnorm_key: str, action_dim: int, proprio_dim: int | None) -> Platform | None:
    """
    Recognise the platform of a checkpoint, None if it is none of the official ones.

    :param proprio_dim: length of the state vector, None if the checkpoint says nothing of one.
    """
    fitting = [platform for platform in PLATFORMS
               if platform.action_dim == action_dim
               and proprio_dim in (None, platform.proprio_dim)]
    if len(fitting) == 1:
        return fitting[0]
    named = [platform for platform in fitting if platform.name in unnorm_key.lower()]
    return named[0] if len(named) == 1 else None


def chunk_length(declared: int, platform: Platform | None, action_dim: int,
                 proprio_dim: int | None) -> int:
    """
    Return how many actions a chunk has.

    :param declared: what the user says, 0 for nothing.
    :raises ParameterError: nothing is declared, and the platform is not known.
    """
    if declared:
        return declared
    if platform is None:
        raise ParameterError(
            'chunk_length', declared,
            f'declared: this OFT checkpoint of {action_dim} action and {proprio_dim or "no"} '
            'state dimensions is none of the official platforms '
            f'({", ".join(f"{p.name} {p.chunk_length}" for p in PLATFORMS)})')
    return platform.chunk_length


def normalization(platform: Platform | None, description: DatasetDescription | None) -> str:
    """Name the statistics that scale actions and states: the dataset's own, or the platform's."""
    if description is not None:
        return description.normalization
    return platform.normalization if platform else 'bounds_q99'
