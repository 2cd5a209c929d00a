# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Inspects the running graph: connects as the node does, and listens for a few seconds."""

from collections.abc import Sequence
import math
import os
from pathlib import Path
import re
import time
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from vla_ros.doctor.finding import Finding
from vla_ros.doctor.finding import OK
from vla_ros.doctor.finding import WARNING
from vla_ros.doctor.graph import check_stream
from vla_ros.doctor.graph import check_topic
from vla_ros.doctor.graph import Endpoint
from vla_ros.doctor.graph import IMAGE_TYPES
from vla_ros.doctor.graph import Stream
from vla_ros.ros.qos import NEWEST
from vla_ros.ros.qos_events import SubscriptionEventCallbacks

_CLASSES = dict(zip(IMAGE_TYPES, (Image, CompressedImage)))
# Seconds in which the others are discovered; more than two processes ever took here.
_DISCOVERY = 3.0
# What the middleware gives for "infinite", and for "unknown", is longer than a century.
_CENTURY = 3e9
_UNKNOWN = 2 ** 63


def probe_graph(topics: Sequence[str], seconds: float) -> list[Finding]:
    """
    Inspect topics, and measure those that carry images.

    :param topics: full names.
    :param seconds: to listen.
    """
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node('vla_doctor', context=context, enable_rosout=False,
                             start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        _spin(executor, _DISCOVERY)
        return _probe(node, executor, topics, seconds)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def _probe(node: Node, executor: SingleThreadedExecutor, topics: Sequence[str], seconds: float
           ) -> list[Finding]:
    findings = [Finding('middleware', OK, f'the graph is seen through '
                        f'{rclpy.get_rmw_implementation_identifier()}')]
    found = {topic: _endpoints(node, topic) for topic in topics}
    listeners = [_Listener(node, topic, message_type)
                 for topic, endpoints in found.items()
                 for message_type in sorted({one.message_type for one in endpoints
                                             if one.is_publisher} & set(_CLASSES))]
    _spin(executor, seconds if listeners else 0.0)
    for topic, endpoints in found.items():
        if endpoints:
            findings += check_topic(topic, endpoints)
    for listener in listeners:
        findings += check_stream(listener.stream(seconds))
    if not listeners:
        others = [name for name, types in node.get_topic_names_and_types()
                  if set(types) & set(_CLASSES)]
        hint = f'remap it to one of {", ".join(others)}' if others else 'start a camera'
        findings.append(Finding('camera', WARNING, f'no images on {", ".join(topics)}', hint))
    return findings


def _spin(executor: SingleThreadedExecutor, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=max(0.0, end - time.monotonic()))


def _endpoints(node: Node, topic: str) -> list[Endpoint]:
    return [_endpoint(topic, info, is_publisher)
            for is_publisher, infos in ((True, node.get_publishers_info_by_topic(topic)),
                                        (False, node.get_subscriptions_info_by_topic(topic)))
            for info in infos]


def _endpoint(topic: str, info: Any, is_publisher: bool) -> Endpoint:
    qos = info.qos_profile
    return Endpoint(
        f'{info.node_namespace.rstrip("/")}/{info.node_name}', topic, info.topic_type,
        is_publisher, qos.reliability.name, qos.durability.name, qos.history.name, qos.depth,
        _seconds(qos.deadline), qos.liveliness.name, _seconds(qos.liveliness_lease_duration))


def _seconds(duration: Any) -> float:
    seconds = duration.nanoseconds / 1e9
    return math.inf if seconds <= 0.0 or seconds > _CENTURY else seconds


class _Listener:
    """Listens to an image topic as the node does."""

    def __init__(self, node: Node, topic: str, message_type: str) -> None:
        self._node = node
        self._topic = topic
        self._ages: list[float] = []
        self._numbers: list[int] = []
        self._lost = 0
        self._size = 0
        # It has a second parameter, from which rclpy sees that it takes the information, too.
        node.create_subscription(_CLASSES[message_type], topic, self._take, NEWEST,
                                 event_callbacks=SubscriptionEventCallbacks(
                                     message_lost=self._on_lost))

    def stream(self, seconds: float) -> Stream:
        """Sum up."""
        known = [number for number in self._numbers if 0 < number < _UNKNOWN]
        published = max(known) - min(known) + 1 if known else -1
        others = _others_segments()
        return Stream(self._topic, seconds, len(self._ages), published, self._lost, self._ages,
                      self._size, [path.stat().st_size for path in others if path.exists()],
                      _has_mapped('iceoryx_mgmt'), rclpy.get_rmw_implementation_identifier())

    def _take(self, image: Any, information: Any) -> None:
        now = self._node.get_clock().now().nanoseconds
        stamp = image.header.stamp
        self._ages.append((now - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e9)
        self._size = max(self._size, len(image.data))
        self._numbers.append(_sequence_number(information))

    def _on_lost(self, event: Any) -> None:
        self._lost = event.total_count


def _sequence_number(information: Any) -> int:
    """Return the number of a message, -1 where the distribution gives none (Humble)."""
    if isinstance(information, dict):
        return int(information.get('publication_sequence_number') or -1)
    return int(getattr(information, 'publication_sequence_number', None) or -1)


def _others_segments() -> set[Path]:
    """Return the segments of Fast DDS that this process uses, but has not made."""
    pattern = r'/dev/shm/fastdds_[0-9a-f]{16}(?=_el$|$|\s)'
    used = set(re.findall(pattern, _maps(), re.MULTILINE))
    # The process that made a segment keeps the lock file beside it open.
    own = {name for file in Path('/proc/self/fd').iterdir()
           for name in re.findall(pattern, os.path.realpath(file))}
    return {Path(name) for name in used - own}


def _has_mapped(name: str) -> bool:
    return f'/dev/shm/{name}' in _maps()


def _maps() -> str:
    return Path('/proc/self/maps').read_text(encoding='utf-8', errors='replace')
