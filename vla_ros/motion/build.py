# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Builds the arm from the parameters, and refuses whatever does not fit."""

from collections.abc import Callable
from dataclasses import replace

from vla_ros.datasets import DatasetDescription
from vla_ros.datasets import find_dataset
from vla_ros.datasets import Gripper
from vla_ros.datasets import load_datasets
from vla_ros.errors import ParameterError
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.arm import Arm
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.playback import Playback
from vla_ros.motion.robot import load_robot
from vla_ros.motion.timing import action_duration
from vla_ros.motion.timing import Timing
from vla_ros.parameters import NodeConfig
from vla_ros.policy import PolicySpec
from vla_ros.safety.gates import Gates
from vla_ros.safety.gates import GateSettings
from vla_ros.transforms import transform_description


def build_arm(config: NodeConfig, spec: PolicySpec, description: Callable[[], str]) -> Arm:
    """
    Build the arm that ``robot.file`` names.

    :param description: waits for ``robot_description`` and gives the URDF's text.
    :raises VlaError: robot, dataset, parameters or checkpoint do not fit each other.
    """
    urdf = description() if config.robot_urdf == 'topic' else config.robot_urdf
    robot = load_robot(config.robot_file, urdf or None)
    robot = replace(robot, limits=robot.limits.tightened(
        lower=config.limits_lower, upper=config.limits_upper, velocity=config.limits_velocity,
        acceleration=config.limits_acceleration, jerk=config.limits_jerk))
    reader = ActionReader(declared_actions(config, spec.unnorm_key), robot, spec.action_shape[1])
    gates = Gates(GateSettings(
        config.gate_position, config.gate_velocity, config.gate_acceleration,
        config.gate_workspace, config.gate_gripper, config.gate_jump, config.gate_following,
        config.gate_margin), robot.limits, robot.workspace, len(robot.joints))
    timing = Timing(action_duration(reader.dataset, config.speed_scale, config.action_rate),
                    config.smoothing, config.repeat, config.remainder)
    playback = Playback(robot, reader, gates, timing,
                        Kinematics(robot) if reader.is_cartesian else None)
    return Arm(robot, playback, gates, 1.0 / config.motion_rate,
               Kinematics(robot) if config.output == 'twist' else None)


def declared_actions(config: NodeConfig, unnorm_key: str) -> DatasetDescription:
    """
    Give what the numbers of an action are: as the dataset has them, where no parameter says more.

    :raises DatasetError: the dataset is not known, and the parameters say too little.
    :raises ParameterError: a parameter cannot be used.
    """
    own_file = config.datasets_file or None
    if config.action_space == 'raw':
        raise ParameterError('action.space', 'raw', 'what the numbers of an action are, or '
                             '"dataset", where a robot.file is set: raw numbers move no arm')
    if config.action_space == 'dataset':
        dataset = find_dataset(unnorm_key, own_file)
    else:
        known = load_datasets(own_file).get(unnorm_key, DatasetDescription(unnorm_key))
        dataset = replace(known, space=config.action_space)
    if config.action_frame:
        dataset = replace(dataset, frame=config.action_frame)
    if config.action_rotation:
        dataset = replace(dataset, rotation=config.action_rotation)
    if config.action_period:
        dataset = replace(dataset, period_s=config.action_period)
    if config.action_gripper:
        dataset = replace(dataset, grippers=(_gripper(config.action_gripper),))
    if dataset.position_unit_m is None and config.action_frame:
        # Whoever declares frame and rotation himself means metres and radians.
        dataset = replace(dataset, position_unit_m=1.0, rotation_unit_rad=1.0)
    # What the policy does to the grippers of an action changes what their numbers mean.
    return transform_description(dataset, config.action_transforms)


def _gripper(numbers: tuple[float, ...]) -> Gripper:
    if len(numbers) != 3 or numbers[0] != int(numbers[0]):
        raise ParameterError('action.gripper', list(numbers), 'three numbers: the place of the '
                             'gripper in an action, the value that opens, the one that closes')
    return Gripper(int(numbers[0]), numbers[1], numbers[2])
