# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Which topics an episode holds, and how they are subscribed to."""

from collections.abc import Iterable
from collections.abc import Sequence
import importlib
from typing import Any

from rclpy.qos import QoSDurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy

from vla_ros.data.contract import ObservationContract
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
import yaml

#: What is recorded of every robot, beside what its contract names.
EVENTS = 'vla/events'
COMMON = (
    ('vla/instruction', 'std_msgs/msg/String'),
    ('vla/action', 'vla_ros_msgs/msg/VlaAction'),
    ('vla/status', 'vla_ros_msgs/msg/VlaStatus'),
    (EVENTS, 'rcl_interfaces/msg/Log'),
    ('joint_states', 'sensor_msgs/msg/JointState'),
    ('arm/joint_command', 'sensor_msgs/msg/JointState'),
    ('arm/estop', 'std_msgs/msg/Bool'),
    ('teleop/joint_command', 'sensor_msgs/msg/JointState'),
    ('teleop/twist', 'geometry_msgs/msg/TwistStamped'),
    ('teleop/deadman', 'std_msgs/msg/Bool'),
)
_LATCHED = ('vla_ros_msgs/msg/VlaStatus',)
_IMAGES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
#: Messages that wait in the middleware while this process does something else.
_IMAGE_DEPTH, _DEPTH = 30, 500


def topics_of(contract: ObservationContract, further: Sequence[str]) -> dict[str, str]:
    """
    Return the type of each topic, by its name as the contract or the caller has it.

    :param further: NAME=TYPE each.
    :raises ParameterError: an entry is not that.
    """
    found = {camera.topic: camera.type for camera in contract.cameras}
    for vector in (contract.state, contract.action):
        if vector is not None:
            found[vector.topic] = vector.type
    for topic, kind in COMMON:
        if f'/{topic}' not in found:
            found[topic] = kind
    for entry in further:
        topic, equals, kind = entry.partition('=')
        if not (topic and equals and len(kind.split('/')) == 3):
            raise ParameterError('topics', entry, 'like /tf=tf2_msgs/msg/TFMessage')
        found[topic] = kind
    return found


def message_class(kind: str) -> Any:
    """
    Import the class of a message.

    :param kind: like ``std_msgs/msg/String``.
    :raises UnsupportedError: it is not installed.
    """
    package, _, name = kind.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError):
        remedy = ('build it with: colcon build --base-paths . msg' if package == 'vla_ros_msgs'
                  else f'install the package {package}')
        raise UnsupportedError(f'topic of type {kind}', 'the message is not installed',
                               remedy) from None


def choose_qos(kind: str, publishers: Iterable[Any]) -> QoSProfile:
    """
    Return QoS that match all publishers of a topic, reliable if all of them are.

    :param kind: type of the messages.
    :param publishers: what the graph knows of them; none yet: what this project uses.
    """
    profiles = [publisher.qos_profile for publisher in publishers]
    best_effort = QoSReliabilityPolicy.BEST_EFFORT
    latched = QoSDurabilityPolicy.TRANSIENT_LOCAL
    depth = _IMAGE_DEPTH if kind in _IMAGES else _DEPTH
    if profiles:
        is_reliable = all(profile.reliability != best_effort for profile in profiles)
        is_latched = all(profile.durability == latched for profile in profiles)
    else:
        is_reliable = kind not in _IMAGES and kind != 'sensor_msgs/msg/JointState'
        is_latched = kind in _LATCHED
    return QoSProfile(
        depth=depth, durability=latched if is_latched else QoSDurabilityPolicy.VOLATILE,
        reliability=QoSReliabilityPolicy.RELIABLE if is_reliable else best_effort)


def qos_yaml(profile: QoSProfile) -> str:
    """Write QoS as rosbag2 keeps them, so that a player offers the same."""
    forever = {'sec': 9223372036, 'nsec': 854775807}
    return yaml.safe_dump([{
        'history': 1, 'depth': profile.depth, 'reliability': int(profile.reliability),
        'durability': int(profile.durability), 'deadline': forever, 'lifespan': dict(forever),
        'liveliness': 1, 'liveliness_lease_duration': dict(forever),
        'avoid_ros_namespace_conventions': False}], sort_keys=False)
