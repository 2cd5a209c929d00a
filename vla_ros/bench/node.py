# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench node``: from a camera's stamp to the command, through real DDS, without a model."""

import argparse
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

from vla_ros.bench.sizes import parse_size
from vla_ros.bench.timing import summarize
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.transport.local_environment import demo_environment

HELP = 'what the node adds to model and transport, from a camera’s stamp to the command'

_DEADLINE = 30.0
_WARMUP = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.add_argument('--size', default='640x480', metavar='WxH', help='of the frames')
    parser.add_argument('--rate', type=float, default=20.0, metavar='HZ', help='of the camera')
    parser.add_argument('--frames', type=int, default=300, metavar='N')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; see the page docs/benchmarks.md for what the numbers mean."""
    if arguments.frames < 1:
        raise ParameterError('--frames', arguments.frames, 'at least 1')
    if not 0 < arguments.rate <= 1000:
        raise ParameterError('--rate', arguments.rate, 'more than 0 and at most 1000')
    width, height = parse_size(arguments.size)
    environment = {**os.environ, **demo_environment(os.environ)}
    # Nobody else's commands and images are wanted, and nobody else is to see these.
    environment['ROS_DOMAIN_ID'] = str(random.randint(1, 101))
    with _node_process(environment) as process:
        os.environ.update(environment)
        received = _send_frames(arguments, width, height)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=_DEADLINE)
    rows = np.array(json.loads(output.splitlines()[-1]), np.int64)[_WARMUP:]
    if not len(rows):
        raise UnsupportedError('vla_bench node', 'the node gave no result',
                               'see what vla_doctor says of the transport')
    return {**summarize_rows(rows), 'frames_sent': arguments.frames, 'results': len(rows),
            'commands_received': received, 'frame': f'{width}x{height}',
            'rate_hz': arguments.rate, 'machine': machine_line()}


def summarize_rows(rows: np.ndarray) -> dict[str, dict[str, float]]:
    """
    Sum up the parts of the way of each frame.

    :param rows: int64 (N, 5), see :mod:`vla_ros.bench.timed_node`.
    """
    stamp, received, started, ended, published = (rows / 1e6).T
    return {'overhead': summarize(published - received), 'transport': summarize(received - stamp),
            'total': summarize(published - stamp), 'wait': summarize(started - received),
            'infer': summarize(ended - started), 'publish': summarize(published - ended)}


def machine_line() -> str:
    """Name what decides how fast this is."""
    return (f'{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python '
            f'{sys.version.split()[0]}, ROS {os.environ.get("ROS_DISTRO", "from PyPI")}')


@contextmanager
def _node_process(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, '-m', 'vla_ros.bench.timed_node', '--ros-args', '-p', 'checkpoint:=none',
         '-p', 'instruction:=measure', '-p', 'black_box.folder:=""', '--log-level', 'error'],
        env=dict(environment), stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _send_frames(arguments: argparse.Namespace, width: int, height: int) -> int:
    """Play the camera; return the number of commands that came back."""
    import rclpy
    from sensor_msgs.msg import Image
    from sensor_msgs.msg import JointState
    from vla_ros.ros.qos import NEWEST
    from vla_ros.ros.spinning import spinning
    rclpy.init()
    node = rclpy.create_node('bench_camera')
    changed, commands = threading.Condition(), [0]

    def count(command: JointState) -> None:
        with changed:
            commands[0] += 1
            changed.notify_all()

    node.create_subscription(JointState, '/arm/joint_command', count, 10)
    camera = node.create_publisher(Image, '/camera/image_raw', NEWEST)
    image = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    image.header.frame_id = 'camera'
    image.data.frombytes(np.random.default_rng(0).integers(
        0, 256, 3 * width * height, dtype=np.uint8).tobytes())

    def show() -> None:
        image.header.stamp = node.get_clock().now().to_msg()
        camera.publish(image)

    try:
        with spinning(node):
            pause, deadline = threading.Event(), time.monotonic() + _DEADLINE
            while commands[0] < _WARMUP:
                if time.monotonic() > deadline:
                    raise UnsupportedError(
                        'vla_bench node', f'{commands[0]} commands came back within '
                        f'{_DEADLINE:g} s', 'see what vla_doctor says of the transport')
                show()
                with changed:
                    changed.wait(0.1)
            before, began = commands[0], time.monotonic()
            for number in range(arguments.frames):
                pause.wait(max(0.0, began + number / arguments.rate - time.monotonic()))
                show()
            with changed:
                changed.wait_for(lambda: commands[0] - before >= arguments.frames, 1.0)
                return commands[0] - before
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def table(result: Mapping[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [f'{result["frames_sent"]} frames of {result["frame"]} at {result["rate_hz"]:g} Hz, '
             f'{result["results"]} results, {result["commands_received"]} commands received.', '',
             f'Machine: {result["machine"]}.', '',
             '| | p50 ms | p99 ms | max ms |', '| --- | --- | --- | --- |']
    names = {'overhead': 'node: image received to command published',
             'wait': '- until the inference begins', 'infer': '- reading the image, no model',
             'publish': '- until the command is out',
             'transport': 'transport: stamp to image received', 'total': 'stamp to command'}
    for name, label in names.items():
        row = result[name]
        lines.append(f'| {label} | {row["p50_ms"]:.2f} | {row["p99_ms"]:.2f} | '
                     f'{row["max_ms"]:.2f} |')
    return '\n'.join(lines)
