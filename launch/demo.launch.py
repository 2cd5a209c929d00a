# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The inference node at work on any machine: tiny checkpoint, camera that looks at photographs."""

import os

from launch import LaunchContext
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import ExecuteProcess
from launch.actions import IncludeLaunchDescription
from launch.actions import RegisterEventHandler
from launch.actions import SetEnvironmentVariable
from launch.actions import Shutdown
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage
from launch_ros.substitutions import FindPackageShare

from vla_ros.demo.checkpoint import checkpoint_folder
from vla_ros.demo.environment import demo_environment
from vla_ros.demo.tokenizer import INSTRUCTIONS
from vla_ros.policy import DEVICES


def generate_launch_description():
    prepare = ExecuteProcess(
        cmd=[ExecutableInPackage(package='vla_ros', executable='vla_demo'),
             '--write-checkpoint', LaunchConfiguration('checkpoint')],
        name='demo_checkpoint', output='screen')
    camera = Node(package='vla_ros', executable='vla_demo_camera', output='screen')
    inference = IncludeLaunchDescription(
        PathJoinSubstitution([FindPackageShare('vla_ros'), 'launch', 'vla_inference.launch.py']),
        launch_arguments={name: LaunchConfiguration(name)
                          for name in ('checkpoint', 'instruction', 'device')}.items())

    def on_prepared(event: ProcessExited, context: LaunchContext):
        if event.returncode:
            return [Shutdown(reason='there is no checkpoint')]
        return [camera, inference]

    return LaunchDescription([
        DeclareLaunchArgument('checkpoint', default_value=str(checkpoint_folder()),
                              description='Folder of the checkpoint; written if it is not there.'),
        DeclareLaunchArgument('instruction', default_value=INSTRUCTIONS[0],
                              description='What the arm is to do, as a sentence.'),
        DeclareLaunchArgument('device', default_value='auto', choices=list(DEVICES),
                              description='Where the policy runs; auto takes a GPU if any.'),
        *(SetEnvironmentVariable(name, value)
          for name, value in demo_environment(os.environ).items()),
        RegisterEventHandler(OnProcessExit(target_action=prepare, on_exit=on_prepared)),
        prepare,
    ])
