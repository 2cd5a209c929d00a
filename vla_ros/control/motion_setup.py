# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Builds the arm from the parameters and checks that they fit each other."""

from collections.abc import Callable
from dataclasses import replace

from vla_ros.control.parameters import NodeConfig
from vla_ros.data.datasets import DatasetDescription
from vla_ros.data.datasets import find_dataset
from vla_ros.data.datasets import Gripper
from vla_ros.data.datasets import load_datasets
from vla_ros.data.transforms import transform_description
from vla_ros.errors import ParameterError
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.arm import Arm
from vla_ros.motion.executor import TrajectoryExecutor
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.teleop import TeleopPlanner
from vla_ros.motion.timing import action_duration
from vla_ros.motion.timing import Timing
from vla_ros.policy.base import PolicySpec
from vla_ros.robot.description import load_robot
from vla_ros.robot.description import Robot
from vla_ros.safety.action_limits import ActionLimits
from vla_ros.safety.action_limits import ActionLimitSettings


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
    check = ActionLimits(ActionLimitSettings(
        config.gate_position, config.gate_velocity, config.gate_acceleration,
        config.gate_workspace, config.gate_unreachable, config.gate_gripper, config.gate_jump,
        config.gate_following, config.gate_margin), robot.limits, robot.workspace,
        len(robot.joints))
    timing = Timing(action_duration(reader.dataset, config.speed_scale, config.action_rate),
                    config.smoothing, config.repeat, _remainder(config, reader))
    executor = TrajectoryExecutor(robot, reader, check, timing,
                                  Kinematics(robot) if reader.is_cartesian else None)
    return Arm(robot, executor, check, _lookahead(config),
               Kinematics(robot) if config.output == 'twist' else None,
               _build_teleop(config, robot, check) if config.teleop_enabled else None)


def _remainder(config: NodeConfig, reader: ActionReader) -> str:
    """Return what becomes of the rest of a chunk; poses written as angles cannot be blended."""
    if config.remainder != 'auto':
        return config.remainder
    return 'align' if reader.dataset.space == 'eef_pose' else 'align_blend'


def _build_teleop(config: NodeConfig, robot: Robot, check: ActionLimits) -> TeleopPlanner:
    if config.teleop_distance > config.gate_jump:
        raise ParameterError('teleop.max_distance', config.teleop_distance, 'at most '
                             f'action_limits.jump, {config.gate_jump:g}')
    return TeleopPlanner(robot, check, config.teleop_period, config.teleop_distance,
                         Kinematics(robot) if robot.tip_frame else None)


def _lookahead(config: NodeConfig) -> float:
    """Return the seconds of planned motion in a command; 0 for a single setpoint."""
    period = 1.0 / config.motion_rate
    if config.output == 'twist' and config.grippers_as == 'together':
        raise ParameterError('gripper.output', 'together',
                             'none, or a message of its own, where output is twist')
    if config.lead and config.output != 'joint_trajectory':
        raise ParameterError('trajectory.lead', config.lead,
                             '0 where output is not joint_trajectory')
    if config.lead >= period:
        # A controller that queues one future trajectory would always get the next one before the
        # start of the queued one, and never move.
        raise ParameterError('trajectory.lead', config.lead, 'below one period of command_rate, '
                             f'{period:g} s: lower command_rate, or the lead')
    if 'joint_trajectory' not in (config.output, config.grippers_as):
        return 0.0
    if config.lookahead < 2.0 * period:
        raise ParameterError('trajectory.lookahead', config.lookahead,
                             f'at least two periods of command_rate, {2.0 * period:g} s: else '
                             'the arm would brake between two messages')
    return config.lookahead


def declared_actions(config: NodeConfig, unnorm_key: str) -> DatasetDescription:
    """
    Describe the dimensions of an action: by the parameters, else by the dataset.

    :raises DatasetError: the dataset is unknown, and the parameters do not describe it fully.
    :raises ParameterError: a parameter cannot be used.
    """
    own_file = config.datasets_file or None
    if config.action_space == 'raw':
        raise ParameterError('action.space', 'raw', 'a space such as joint_delta, or '
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
        # With a declared frame the units are metres and radians.
        dataset = replace(dataset, position_unit_m=1.0, rotation_unit_rad=1.0)
    # Transforms of the policy change the meaning of the gripper values.
    return transform_description(dataset, config.action_transforms)


def _gripper(numbers: tuple[float, ...]) -> Gripper:
    if len(numbers) != 3 or numbers[0] != int(numbers[0]):
        raise ParameterError('action.gripper', list(numbers), 'three numbers: the index of the '
                             'gripper in an action, the value that opens, the one that closes')
    return Gripper(int(numbers[0]), numbers[1], numbers[2])
