# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Measures recording: lost messages, the recorder's share of a core, and the node's latency.

    python test/bench_record.py FOLDER [--seconds 120]

Two cameras of 640x480 at 30 Hz and joint states at 100 Hz come from one process, as from a robot's
drivers. The real node, with a policy that takes no time, infers from the first camera for at most
two minutes without a recorder, and then while vla_record writes everything to FOLDER (55 MB a
second). Prints one JSON object.
"""

import argparse
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.clock import Clock
from rclpy.clock import ClockType
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from vla_ros.bench.node import machine_line
from vla_ros.bench.node import summarize_rows
from vla_ros.evaluation.pair import free_domains
from vla_ros.evaluation.pair import parameter_arguments
from vla_ros.recording.bag_reader import Bag
from vla_ros.ros.qos import NEWEST
from vla_ros.transport.local_environment import demo_environment

_SIZE, _CAMERA_RATE, _JOINT_RATE = (480, 640), 30, 100
_CAMERAS = ('/camera/image_raw', '/wrist/image_raw')
_JOINTS = [f'joint_{number}' for number in range(1, 8)]
_DEADLINE, _TICKS = 60.0, os.sysconf('SC_CLK_TCK')
# Longest time without a recorder, s.
_ALONE = 120.0
_CONTRACT = f"""
fps: 30
max_skew: 0.05
cameras:
- {{name: front, topic: {_CAMERAS[0]}}}
- {{name: wrist, topic: {_CAMERAS[1]}}}
state: {{topic: /joint_states, names: [{', '.join(_JOINTS)}]}}
action: {{topic: /arm/joint_command, names: [{', '.join(_JOINTS)}]}}
"""


def play():
    """Publish as the robot until a line on stdin; each message has its number as its frame."""
    rclpy.init()
    node = rclpy.create_node('robot')
    images = [node.create_publisher(Image, topic, NEWEST) for topic in _CAMERAS]
    joints = node.create_publisher(JointState, '/joint_states', NEWEST)
    height, width = _SIZE
    image = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    noise = np.random.default_rng(0).integers(0, 256, 3 * height * width, np.uint8)
    state = JointState(name=_JOINTS, position=[0.0] * len(_JOINTS))
    counts = {'images': 0, 'joints': 0}

    def show():
        image.data[0] = counts['images'] % 256
        image.header.frame_id = str(counts['images'])
        image.header.stamp = node.get_clock().now().to_msg()
        counts['images'] += 1
        for publisher in images:
            publisher.publish(image)

    def move():
        state.header.frame_id = str(counts['joints'])
        state.header.stamp = node.get_clock().now().to_msg()
        counts['joints'] += 1
        joints.publish(state)
    image.data.frombytes(noise.tobytes())
    steady = Clock(clock_type=ClockType.STEADY_TIME)
    node.create_timer(1 / _CAMERA_RATE, show, clock=steady)
    node.create_timer(1 / _JOINT_RATE, move, clock=steady)
    end = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), end.set()), daemon=True).start()
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    while not end.is_set():
        executor.spin_once(timeout_sec=0.1)
    print(json.dumps(counts), flush=True)


def cpu_seconds(process):
    """Return the processor time of a process so far, in s."""
    fields = Path(f'/proc/{process.pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Operator:
    """Starts and stops the recording."""

    def __init__(self):
        rclpy.init()
        self.node = rclpy.create_node('bench_operator')

    def wait_for(self, condition, what):
        """Wait for a condition of the graph."""
        pause, end = threading.Event(), time.monotonic() + _DEADLINE
        while not condition():
            if time.monotonic() > end:
                sys.exit(f'not within {_DEADLINE:g} s: {what}')
            pause.wait(0.1)

    def call(self, word):
        """Call one of the recorder's services."""
        client = self.node.create_client(Trigger, f'/vla_record/{word}')
        assert client.wait_for_service(_DEADLINE), 'no recorder'
        future = client.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=_DEADLINE)
        response = future.result()
        assert response is not None and response.success, response
        return response.message


def start(processes, words):
    """Start one of the processes."""
    process = subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    processes.append(process)
    return process


def lost_messages(bag):
    """Count missing and present numbers of a bag, by topic."""
    numbers = {}
    for sample in bag.samples():
        if sample.topic in (*_CAMERAS, '/joint_states'):
            message = bag.decode(sample)
            numbers.setdefault(sample.topic, []).append(int(message.header.frame_id))
    return {topic: {'recorded': len(found), 'lost': found[-1] - found[0] + 1 - len(set(found))}
            for topic, found in numbers.items()}


def measure(folder, seconds):
    """Run both phases."""
    os.environ.update(demo_environment(os.environ))
    os.environ['ROS_DOMAIN_ID'] = str(free_domains(1)[0])
    folder.mkdir(parents=True, exist_ok=True)
    contract = folder / 'contract.yaml'
    contract.write_text(_CONTRACT)
    processes, pause = [], threading.Event()
    operator = Operator()
    try:
        node = start(processes, ['-m', 'vla_ros.bench.timed_node', '--ros-args', '--log-level',
                                 'error', *parameter_arguments(
                                     checkpoint='none', instruction='measure',
                                     **{'black_box.folder': ''})])
        robot = start(processes, [__file__, 'play'])
        operator.wait_for(lambda: operator.node.count_subscribers(_CAMERAS[0]) >= 1, 'the node')
        pause.wait(5.0)  # the node warms up
        edges = [time.time_ns()]
        pause.wait(min(seconds, _ALONE))
        edges.append(time.time_ns())
        recorder = start(processes, ['-m', 'vla_ros.cli.record', '--ros-args',
                                     *parameter_arguments(contract=str(contract),
                                                          folder=str(folder))])
        operator.wait_for(lambda: operator.node.count_subscribers(_CAMERAS[1]) >= 1,
                          'the recorder')
        pause.wait(5.0)  # it starts
        bag = Path(operator.call('start').split(': ', 1)[1])
        cpu, began = cpu_seconds(recorder), time.monotonic()
        edges.append(time.time_ns())
        pause.wait(seconds)
        edges.append(time.time_ns())
        share = (cpu_seconds(recorder) - cpu) / (time.monotonic() - began)
        operator.call('success')
        for process in (recorder, node):
            process.send_signal(signal.SIGINT)
        rows = np.array(json.loads(node.communicate(timeout=_DEADLINE)[0].splitlines()[-1]))
        recorder.communicate(timeout=_DEADLINE)
        robot.communicate('end\n', timeout=_DEADLINE)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    opened = Bag(bag)
    return {'seconds': seconds, 'recorder_share_of_a_core': round(share, 3),
            'messages': lost_messages(opened), 'counts': json.loads(opened.metadata['counts']),
            'without': summarize_rows(within(rows, *edges[:2])),
            'with': summarize_rows(within(rows, *edges[2:])), 'machine': machine_line()}


def within(rows, begin, end):
    """Return the results of images between two times in ns."""
    return rows[(rows[:, 0] >= begin) & (rows[:, 0] < end)]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='"play" for the robot')
    parser.add_argument('--seconds', type=float, default=120.0)
    arguments = parser.parse_args()
    if str(arguments.folder) == 'play':
        play()
    else:
        print(json.dumps(measure(arguments.folder, arguments.seconds)))


if __name__ == '__main__':
    main()
