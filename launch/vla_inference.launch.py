# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Starts the inference node."""

import json
import re

from launch import Condition
from launch import LaunchContext
from launch import LaunchDescription
from launch import Substitution
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.actions import SetParameter
from launch_ros.actions import SetParametersFromFile
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from vla_ros.policy.choices import DEVICES
from vla_ros.ros.launching import apply_transport
from vla_ros.ros.launching import transport_arguments
from vla_ros.ros.launching import when_ready


class QuotedArgument(Substitution):
    """
    An argument as a YAML string in double quotes, which no content can end or change.

    The node gets it as YAML on its command line, where ``12``, ``yes``, ``{a: b}`` and a line
    break would mean something else.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def perform(self, context: LaunchContext) -> str:
        """Quote the value."""
        text = json.dumps(context.launch_configurations[self._name], ensure_ascii=False)
        # JSON leaves these as they are; YAML refuses them, or takes them for a line break.
        return re.sub('[\x7f-\x9f\u2028\u2029\ufeff]',
                      lambda found: f'\\u{ord(found[0]):04x}', text)


def is_set(argument: str) -> Condition:
    """Return whether an argument was given: one that was not must not override the YAML file."""
    return Condition(predicate=lambda context: bool(context.launch_configurations[argument]))


def text_parameter(name: str) -> SetParameter:
    """Hand an argument on as the parameter of the same name."""
    text = ParameterValue(QuotedArgument(name), value_type=str)
    return SetParameter(name, text, condition=is_set(name))


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the node."""
    return LaunchDescription([
        DeclareLaunchArgument(
            'checkpoint', default_value='',
            description='Folder of an OpenVLA checkpoint, or a hub id owner/name; '
                        'empty: as params_file says.'),
        DeclareLaunchArgument(
            'unnorm_key', default_value='',
            description='Dataset whose statistics scale the action; empty: as params_file says.'),
        DeclareLaunchArgument(
            'instruction', default_value='',
            description='What the arm is to do, in words; empty: as params_file says.'),
        DeclareLaunchArgument(
            'device', default_value='', choices=['', *DEVICES],
            description='Where the policy runs; empty: as params_file says.'),
        *transport_arguments(),
        DeclareLaunchArgument(
            'params_file',
            default_value=PathJoinSubstitution(
                [FindPackageShare('vla_ros'), 'config', 'vla_inference.yaml']),
            description='YAML file of parameters, keyed /**; the arguments here override it.'),
        DeclareLaunchArgument(
            'namespace', default_value='',
            description='Namespace of the node and of all its topics but /diagnostics.'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='', choices=['', 'true', 'false'],
            description='Take the time from /clock; empty: as params_file says.'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='What is worth a line in the log.'),
        DeclareLaunchArgument(
            'respawn', default_value='false', choices=['true', 'false'],
            description='Start the node anew, a second after it has died for whatever reason. Set '
                        'safety.dry_start in params_file, too: a node that comes back moves the '
                        'arm as soon as it has loaded.'),

        # Before the transport is set up, so that nothing that it says comes too early.
        OpaqueFunction(function=when_ready, args=[
            # In this order, and none as a parameter of the node, which would override them all.
            SetParametersFromFile(LaunchConfiguration('params_file')),
            text_parameter('checkpoint'),
            text_parameter('unnorm_key'),
            text_parameter('instruction'),
            text_parameter('device'),
            SetParameter('use_sim_time', LaunchConfiguration('use_sim_time'),
                         condition=is_set('use_sim_time')),

            # It configures and activates itself, unless the parameter autostart is false.
            Node(package='vla_ros', executable='vla_inference_node', name='vla_inference_node',
                 namespace=LaunchConfiguration('namespace'), output='screen',
                 respawn=LaunchConfiguration('respawn'), respawn_delay=1.0,
                 arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')]),
        ]),
        OpaqueFunction(function=apply_transport),
    ])
