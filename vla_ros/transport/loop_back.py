# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Sends an image from one process to another, and says whether it went over shared memory.

``python -m vla_ros.transport.loop_back BYTES``. A process of its own, because a middleware whose
shared memory is not in order blocks for ever or aborts.
"""

import math
from pathlib import Path
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

_MIDDLEWARE = 'rmw_cyclonedds_cpp'
# What a process that uses iceoryx has mapped.
_MAPPED = 'iceoryx_mgmt'
# Seconds that an image may take once the sender has been discovered.
_LIMIT = 2.0


def main() -> int:
    """Receive, and start the sender; the caller ends this process if it takes too long."""
    # An abort is one of the results, and not worth a core dump of a frame and its pools.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if len(sys.argv) > 2:
        _send(int(sys.argv[1]), sys.argv[2])
        return 0
    topic = f'vla_transport_loop_back_{time.time_ns()}'
    sender = subprocess.Popen([sys.executable, '-m', __spec__.name, sys.argv[1], topic])
    try:
        problem = _receive(int(sys.argv[1]), topic, sender)
    finally:
        # Not killed if it can be helped: RouDi aborts when it ends soon after a client vanished.
        sender.terminate()
    sender.wait()
    print(problem)
    return int(bool(problem))


def _receive(size: int, topic: str, sender: 'subprocess.Popen[bytes]') -> str:
    """Wait for an image; return what is wrong, empty if nothing."""
    rclpy, node = _make_node()
    found = rclpy.get_rmw_implementation_identifier()
    if found != _MIDDLEWARE:
        return f'this rclpy is bound to {found}, not to {_MIDDLEWARE}'
    from sensor_msgs.msg import Image
    arrived: list[int] = []
    node.create_subscription(Image, topic, lambda image: arrived.append(len(image.data)), _qos())
    end = math.inf
    while not arrived and sender.poll() is None and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
        if end == math.inf and node.count_publishers(topic):
            end = time.monotonic() + _LIMIT
    if not arrived and sender.poll() is None:
        return 'no image arrived'
    if not arrived:
        return f'the sender ended with status {sender.poll()}'
    if _MAPPED not in Path('/proc/self/maps').read_text(encoding='utf-8', errors='replace'):
        return 'the image came through the network, not through shared memory'
    return '' if arrived[0] == size else f'{arrived[0]} of {size} bytes arrived'


def _send(size: int, topic: str) -> None:
    rclpy, node = _make_node()
    from sensor_msgs.msg import Image
    publisher = node.create_publisher(Image, topic, _qos())
    image = Image(height=1, width=size, step=size, encoding='mono8')
    image.data.frombytes(bytes(size))
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.wait(0.1):
        publisher.publish(image)
    rclpy.shutdown()


def _make_node() -> tuple[Any, Any]:
    # Imported here: the sender is started first, so that both import at the same time.
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    return rclpy, rclpy.create_node('vla_transport_loop_back', enable_rosout=False,
                                    start_parameter_services=False)


def _qos() -> Any:
    from rclpy.qos import QoSProfile
    from rclpy.qos import QoSReliabilityPolicy
    return QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


if __name__ == '__main__':
    sys.exit(main())
