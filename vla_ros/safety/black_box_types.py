# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Definitions of the ROS messages that the black box writes, as an MCAP file carries them.

All are of ROS itself, so that any installation, Foxglove or ``ros2 bag`` can read a file without
this project. From the packages builtin_interfaces, std_msgs, sensor_msgs, rcl_interfaces and
diagnostic_msgs, without their comments.
"""

_SEPARATOR = '\n' + 80 * '=' + '\n'
_TIME = 'MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec'
_HEADER = 'MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id'

COMPRESSED_IMAGE = ('sensor_msgs/msg/CompressedImage', _SEPARATOR.join([
    'std_msgs/Header header\nstring format\nuint8[] data', _HEADER, _TIME]))

JOINT_STATE = ('sensor_msgs/msg/JointState', _SEPARATOR.join([
    'std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\n'
    'float64[] effort', _HEADER, _TIME]))

LOG = ('rcl_interfaces/msg/Log', _SEPARATOR.join([
    'builtin_interfaces/Time stamp\nuint8 level\nstring name\nstring msg\nstring file\n'
    'string function\nuint32 line', _TIME]))

DIAGNOSTIC_ARRAY = ('diagnostic_msgs/msg/DiagnosticArray', _SEPARATOR.join([
    'std_msgs/Header header\ndiagnostic_msgs/DiagnosticStatus[] status', _HEADER, _TIME,
    'MSG: diagnostic_msgs/DiagnosticStatus\nbyte level\nstring name\nstring message\n'
    'string hardware_id\ndiagnostic_msgs/KeyValue[] values',
    'MSG: diagnostic_msgs/KeyValue\nstring key\nstring value']))
