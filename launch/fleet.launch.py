# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Several robots on one machine, each in a namespace, with a stop of its own and a common one."""

from launch import Condition
from launch import LaunchContext
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.actions import SetParameter
from launch_ros.actions import SetParametersFromFile
from launch_ros.substitutions import FindPackageShare

from vla_ros.ros.launching import apply_transport
from vla_ros.ros.launching import transport_arguments
from vla_ros.ros.launching import when_ready


def robots(context: LaunchContext) -> list[Node]:
    """Return the node of each robot."""
    names = [name.strip() for name in LaunchConfiguration('robots').perform(context).split(',')]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f'robots: got {",".join(names)!r}, it must be different namespaces with '
                         'commas between them, as arm1,arm2')
    return [Node(package='vla_ros', executable='vla_inference_node', name='vla_inference_node',
                 namespace=name, output='screen') for name in names]


def is_simulated(context: LaunchContext) -> bool:
    """Return whether the simulator is wanted."""
    return LaunchConfiguration('simulated_arms').perform(context) != '0'


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the nodes."""
    return LaunchDescription([
        DeclareLaunchArgument(
            'robots', default_value='arm1,arm2',
            description='Namespace of each robot, with commas between them.'),
        DeclareLaunchArgument(
            'params_file',
            default_value=PathJoinSubstitution(
                [FindPackageShare('vla_ros'), 'config', 'vla_inference.yaml']),
            description='YAML file of parameters for all robots, keyed /**; what one robot has of '
                        'its own is keyed /arm1/vla_inference_node.'),
        DeclareLaunchArgument(
            'common_estop', default_value='/arm/estop',
            description='Topic of the emergency stop that all robots hear beside their own.'),
        DeclareLaunchArgument(
            'simulated_arms', default_value='0',
            choices=[str(number) for number in range(9)],
            description='Start vla_sim with so many arms, in the namespaces arm1, arm2 and so on; '
                        '0: the robots are real.'),
        *transport_arguments(),
        OpaqueFunction(function=when_ready, args=[
            Node(package='vla_ros', executable='vla_sim', output='screen',
                 arguments=['--arms', LaunchConfiguration('simulated_arms')],
                 condition=Condition(predicate=is_simulated)),
            # In this order: what follows overrides the file.
            SetParametersFromFile(LaunchConfiguration('params_file')),
            SetParameter('safety.common_estop', LaunchConfiguration('common_estop')),
            OpaqueFunction(function=robots),
        ]),
        OpaqueFunction(function=apply_transport),
    ])
