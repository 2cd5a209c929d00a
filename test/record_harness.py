# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_record`` as a process, and a fake robot that it records."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
import re
import signal
import subprocess
import sys
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray
from domains import next_domain
from node_harness import camera_image
from node_harness import DEADLINE
from node_harness import Observer
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

#: A deep queue: no message is lost on a busy machine.
SURE = QoSProfile(depth=500)
JOINTS = ['joint_1', 'joint_2', 'joint_3', 'joint_4', 'joint_5', 'joint_6', 'gripper']


class RecordProcess:
    """The recorder, with a stdin for words of an operator."""

    def __init__(self, domain, folder, *, launcher=(), **parameters):
        command = [*launcher, sys.executable, '-m', 'vla_ros.cli.record', '--ros-args']
        for name, value in {'folder': folder, 'disk.reserve_mb': 1.0, **parameters}.items():
            command += ['-p', f'{name}:={value}']
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain),
                       'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
        self.process = subprocess.Popen(command, env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        self.lines = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def write(self, word):
        """Write a word to stdin, as an operator types it."""
        self.process.stdin.write(f'{word}\n')
        self.process.stdin.flush()

    def wait_for(self, pattern):
        """Wait for a line that matches."""
        def find():
            return next((match for line in self.lines if (match := re.search(pattern, line))),
                        None)
        with self._changed:
            assert self._changed.wait_for(find, DEADLINE), self.report(f'no {pattern}')
            return find()

    def end(self, number=signal.SIGINT):
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        """Wait for the end, and return the exit status."""
        status = self.process.wait(DEADLINE)
        self._reader.join()
        return status

    def close(self):
        """Kill the process if it still runs."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def report(self, problem):
        """Describe a failure."""
        return '\n'.join([problem, '--- vla_record', *self.lines])

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()


class FakeRobot:
    """A camera, joint states, commands and an instruction, published a step at a time."""

    def __init__(self, observer):
        self.observer = observer
        node = observer.node
        self.joints = node.create_publisher(JointState, '/joint_states', SURE)
        self.commands = node.create_publisher(JointState, '/arm/joint_command', SURE)
        self.camera = node.create_publisher(Image, '/camera/image_raw', SURE)
        self.instructions = observer.operator
        self.steps = 0
        self.diagnostics = {}
        observer.listen(DiagnosticArray, '/diagnostics', 10, self._note)

    def _note(self, message):
        for status in message.status:
            self.diagnostics[status.name] = {item.key: item.value for item in status.values}

    def wait_until_subscribed(self, process):
        """Publish until the recorder receives every topic reliably."""
        self.observer.wait_for_match(self.instructions, process)
        topics = ('/joint_states', '/arm/joint_command', '/camera/image_raw')
        pause, end = threading.Event(), time.monotonic() + DEADLINE
        while not all(self.diagnostics.get(f'vla_record: {topic}', {}).get('qos') == 'reliable'
                      for topic in topics):
            assert time.monotonic() < end, process.report(f'not subscribed: {self.diagnostics}')
            self.step()
            pause.wait(0.1)
        # Messages up to here arrive before later ones.

    def step(self, size=(8, 8)):
        """Publish joint states, an image, and its command."""
        self.steps += 1
        stamp = self.observer.node.get_clock().now()
        image: Image = camera_image(self.steps % 256, stamp.nanoseconds, size)
        position = [0.01 * self.steps] * len(JOINTS)
        state = JointState(name=JOINTS, position=position)
        state.header.stamp = stamp.to_msg()
        self.joints.publish(state)
        self.camera.publish(image)
        command = JointState(name=JOINTS, position=[value + 0.01 for value in position])
        command.header.stamp = image.header.stamp
        self.commands.publish(command)

    def run(self, steps, period=0.02, size=(8, 8)):
        """Publish several steps, as a robot would."""
        pause = threading.Event()
        for _ in range(steps):
            self.step(size)
            pause.wait(period)


@contextmanager
def recording(folder, **parameters) -> Iterator[tuple[RecordProcess, FakeRobot]]:
    """Run a recorder and a robot on a domain of their own."""
    domain = next_domain()
    observer = Observer(domain, takes_commands=False)
    observer.node.destroy_publisher(observer.camera)
    process = RecordProcess(domain, folder, **parameters)
    try:
        robot = FakeRobot(observer)
        robot.wait_until_subscribed(process)
        yield process, robot
    finally:
        observer.close()
        process.close()


def call(robot, process, service):
    """Call one of the recorder's services, and return its response."""
    return robot.observer.call(Trigger, f'/vla_record/{service}', Trigger.Request(), process)


def wait_until(condition, what):
    """Poll a condition that no message announces."""
    pause, end = threading.Event(), time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, f'not within {DEADLINE} s: {what}'
        pause.wait(0.01)
    return found
