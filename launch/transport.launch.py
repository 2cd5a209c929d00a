# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Sets up the middleware for whatever is launched after it; to be included by a camera's launch, too.

Nodes that wait for OnTransportReady start only once everything has been checked and RouDi serves.
"""

from launch import LaunchDescription
from launch.actions import OpaqueFunction

from vla_ros.ros.launching import apply_transport
from vla_ros.ros.launching import transport_arguments


def generate_launch_description():
    return LaunchDescription([
        *transport_arguments(),
        OpaqueFunction(function=apply_transport),
    ])
