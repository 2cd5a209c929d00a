# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
One end of a stream of images: a process that sends or receives, and reports as JSON.

Sender: sends images of one pixel until a line comes in on stdin, then the stream, then reports.
Receiver: says ``warm`` at the first image of one pixel, and reports when a line comes in.
Stamps are of the monotonic clock, which both processes share.
"""

import argparse
from collections.abc import Sequence
import json
import sys
import threading
import time
from typing import Any

import numpy as np

from vla_ros.camera.iceoryx2 import FrameReceiver
from vla_ros.camera.iceoryx2 import Iceoryx2Camera
from vla_ros.camera.iceoryx2 import SharedFrame
from vla_ros.util.argument_parser import ArgumentParser


class FrameCounter:
    """What the receiver has seen."""

    def __init__(self) -> None:
        self._ages_ms: list[float] = []
        self._is_warm = False
        self._cpu = 0.0

    def take(self, stamp: int, size: int) -> None:
        """Record a frame, by when it was sent in monotonic nanoseconds, and its bytes."""
        if size > 3:
            self._ages_ms.append((time.monotonic_ns() - stamp) / 1e6)
        elif not self._is_warm:
            self._is_warm = True
            self._cpu = time.process_time()
            print('warm', flush=True)

    def report(self) -> dict[str, object]:
        """Sum up: ages in ms, CPU time in ms for each received frame."""
        ages = self._ages_ms or [float('nan')]
        cpu = 1e3 * (time.process_time() - self._cpu) / max(len(self._ages_ms), 1)
        return {'received': len(self._ages_ms), 'cpu_ms': cpu,
                'age_p50_ms': float(np.percentile(ages, 50)),
                'age_p99_ms': float(np.percentile(ages, 99))}


def wait_for_line() -> threading.Event:
    """Return an event that is set when a line comes in on stdin, or its end."""
    came = threading.Event()

    def read() -> None:
        sys.stdin.readline()
        came.set()
    threading.Thread(target=read, daemon=True).start()
    return came


def stream(publish: Any, width: int, height: int, rate: float, count: int) -> dict[str, object]:
    """
    Send frames of one pixel until a line comes in, then the stream.

    :param publish: called with width, height and stamp of each frame.
    """
    go, pause = wait_for_line(), threading.Event()
    while not go.wait(0.05):
        publish(1, 1, time.monotonic_ns())
    publish(width, height, 0)  # the first one touches all memory; its age says so
    pause.wait(0.5)
    cpu, start = time.process_time(), time.monotonic()
    for number in range(count):
        pause.wait(max(0.0, start + number / rate - time.monotonic()))
        publish(width, height, time.monotonic_ns())
    return {'sent': count, 'cpu_ms': 1e3 * (time.process_time() - cpu) / count}


def send_by_ros(arguments: argparse.Namespace) -> dict[str, object]:
    """Send sensor_msgs/Image, best effort and keep last 1, as camera drivers do."""
    import rclpy
    from sensor_msgs.msg import Image
    from vla_ros.ros.qos import NEWEST
    rclpy.init()
    node = rclpy.create_node('vla_bench_camera')
    publisher = node.create_publisher(Image, arguments.topic, NEWEST)
    images: dict[int, Image] = {}

    def publish(width: int, height: int, stamp: int) -> None:
        size = 3 * width * height
        if size not in images:
            images[size] = Image(width=width, height=height, step=3 * width, encoding='rgb8')
            images[size].data.frombytes(bytes(size))
        image = images[size]
        image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        publisher.publish(image)
    return stream(publish, arguments.width, arguments.height, arguments.rate, arguments.count)


def receive_by_ros(arguments: argparse.Namespace) -> dict[str, object]:
    """Receive as the node does."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image
    from vla_ros.ros.qos import NEWEST
    rclpy.init()
    node = rclpy.create_node('vla_bench_receiver')
    counter = FrameCounter()

    def take(image: Image) -> None:
        stamp = image.header.stamp
        if stamp.sec or stamp.nanosec:
            counter.take(stamp.sec * 1_000_000_000 + stamp.nanosec, len(image.data))
    node.create_subscription(Image, arguments.topic, take, NEWEST)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end = wait_for_line()
    while not end.is_set():
        executor.spin_once(timeout_sec=0.1)
    return counter.report()


def send_by_iceoryx2(arguments: argparse.Namespace) -> dict[str, object]:
    """Send through iceoryx2, as a driver that writes into the lent memory."""
    camera = Iceoryx2Camera(arguments.topic, 3 * arguments.width * arguments.height)

    def publish(width: int, height: int, stamp: int) -> None:
        with camera.frame(height, width, stamp=stamp):
            pass
    return stream(publish, arguments.width, arguments.height, arguments.rate, arguments.count)


def receive_by_iceoryx2(arguments: argparse.Namespace) -> dict[str, object]:
    """Receive through iceoryx2, as the node does."""
    counter, end = FrameCounter(), wait_for_line()

    def take(frame: SharedFrame) -> None:
        if frame.stamp:
            counter.take(frame.stamp, frame.data.size)
    receiver = FrameReceiver(arguments.topic, take)
    end.wait()
    receiver.stop()
    return counter.report()


_ROLES = {'send': send_by_ros, 'receive': receive_by_ros,
          'send_iceoryx2': send_by_iceoryx2, 'receive_iceoryx2': receive_by_iceoryx2}


def main(argv: Sequence[str] | None = None) -> int:
    """Be one end of a stream."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('role', choices=_ROLES)
    parser.add_argument('topic')
    parser.add_argument('width', type=int)
    parser.add_argument('height', type=int)
    parser.add_argument('rate', type=float)
    parser.add_argument('count', type=int)
    arguments = parser.parse_args(argv)
    print(json.dumps(_ROLES[arguments.role](arguments)), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
