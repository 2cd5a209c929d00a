# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The closed loop: simulated arm, inference node, and an evaluator that gives instructions."""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import ExecuteProcess
from launch.actions import IncludeLaunchDescription
from launch.actions import SetEnvironmentVariable
from launch.actions import Shutdown
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage
from launch_ros.substitutions import FindPackageShare

from vla_ros.policy.choices import DEVICES
from vla_ros.transport.local_environment import demo_environment
from vla_ros.transport.local_environment import RESULT_WITHIN

SHARE = FindPackageShare('vla_ros')


def generate_launch_description():
    simulator = Node(
        package='vla_ros', executable='vla_sim', output='screen',
        parameters=[{'publish_clock': True, 'result_within': RESULT_WITHIN}],
        on_exit=Shutdown(reason='the simulator has ended'))
    inference = IncludeLaunchDescription(
        PathJoinSubstitution([SHARE, 'launch', 'vla_inference.launch.py']),
        launch_arguments={
            'checkpoint': LaunchConfiguration('checkpoint'),
            'device': LaunchConfiguration('device'),
            'params_file': PathJoinSubstitution([SHARE, 'config', 'tabletop.yaml']),
            'unnorm_key': 'vla_ros_tabletop',
            'use_sim_time': 'true'}.items())
    evaluator = ExecuteProcess(
        cmd=[ExecutableInPackage(package='vla_ros', executable='vla_demo'), '--join',
             '--out', LaunchConfiguration('out'),
             '--instructions', LaunchConfiguration('instructions')],
        name='vla_demo', output='screen', on_exit=Shutdown(reason='the demo has ended'))
    return LaunchDescription([
        DeclareLaunchArgument(
            'checkpoint', description='Folder of a checkpoint that vla_train made.',
            default_value=PathJoinSubstitution(
                [SHARE, 'config', 'checkpoints', 'vla_ros_tabletop'])),
        DeclareLaunchArgument('device', default_value='auto', choices=list(DEVICES),
                              description='Where the policy runs; auto takes a GPU if any.'),
        DeclareLaunchArgument('out', default_value='demo',
                              description='Folder for report.html and episode.mcap.'),
        DeclareLaunchArgument('instructions', default_value='5', choices=list('12345'),
                              description='How many of the five instructions to give.'),
        *(SetEnvironmentVariable(name, value)
          for name, value in demo_environment(os.environ).items()),
        simulator,
        inference,
        evaluator,
    ])
