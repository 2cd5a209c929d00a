# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Several robots in one domain have instructions and stops of their own, and a common stop."""

from collections.abc import Iterator
import os
import signal
import subprocess
import sys

from domains import next_domain
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('vla_ros_msgs.msg', reason='vla_ros_msgs is not built')

from node_harness import camera_image  # noqa: E402, I100
from node_harness import DEADLINE  # noqa: E402
from node_harness import NEWEST  # noqa: E402
from node_harness import NodeProcess  # noqa: E402
from node_harness import Observer  # noqa: E402
from node_harness import RELIABLE  # noqa: E402
from rclpy.qos import QoSDurabilityPolicy  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from vla_ros_msgs.msg import VlaStatus  # noqa: E402

NAMES = ('arm1', 'arm2')
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class Fleet:
    """Two nodes with cameras, and an observer of both."""

    def __init__(self) -> None:
        domain = next_domain()
        self.observer = Observer(domain, takes_commands=False)
        self.nodes = {name: NodeProcess(domain, 'obedient', {
            'instruction': f'task {number}', 'status.period': '0.1',
            'safety.common_estop': '/arm/estop'}, name) for number, name in enumerate(NAMES, 1)}
        self.states = dict.fromkeys(NAMES, '')
        self.reasons = dict.fromkeys(NAMES, '')
        self.commands: dict[str, list[JointState]] = {name: [] for name in NAMES}
        self.cameras = []
        self.buttons = {}
        for name in NAMES:
            self.observer.listen(VlaStatus, f'/{name}/vla/status', LATCHED, self.note(name))
            self.observer.listen(JointState, f'/{name}/arm/joint_command', RELIABLE,
                                 self.commands[name].append)
            self.cameras.append(self.observer.node.create_publisher(
                Image, f'/{name}/camera/image_raw', NEWEST))
        for topic in ('/arm1/arm/estop', '/arm/estop'):
            self.buttons[topic] = self.observer.node.create_publisher(Bool, topic, RELIABLE)
        self.observer.node.create_timer(0.05, self.show)

    def note(self, name: str):
        """Return a callback that keeps the status of a robot."""
        def take(status: VlaStatus) -> None:
            self.states[name], self.reasons[name] = status.state, status.reason
        return take

    def show(self) -> None:
        """Publish an image to each node."""
        for camera in self.cameras:
            camera.publish(camera_image(100))

    def wait(self, *states: str) -> None:
        """Wait until the robots are in these states."""
        self.observer.wait(lambda: tuple(self.states.values()) == states,
                           f'{states}, but {self.states} {self.reasons}', self.nodes['arm2'])

    def press(self, topic: str, pressed: bool = True) -> None:
        """Press or release an emergency stop."""
        self.observer.wait_for_match(self.buttons[topic], self.nodes['arm1'])
        self.buttons[topic].publish(Bool(data=pressed))


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet()
    yield fleet
    fleet.observer.close()
    for node in fleet.nodes.values():
        node.end(signal.SIGKILL)


def test_each_robot_has_its_instruction_its_own_stop_and_the_common_stop(fleet: Fleet) -> None:
    fleet.wait('RUNNING', 'RUNNING')
    for number, name in enumerate(NAMES, 1):
        fleet.observer.wait(lambda name=name: fleet.commands[name], f'{name} commands',
                            fleet.nodes[name])
        assert fleet.commands[name][-1].position[3] == number
    fleet.press('/arm1/arm/estop')
    fleet.wait('ESTOP', 'RUNNING')
    before = len(fleet.commands['arm2'])
    fleet.observer.wait(lambda: len(fleet.commands['arm2']) > before + 2, 'arm2 goes on',
                        fleet.nodes['arm2'])
    fleet.press('/arm/estop')
    fleet.wait('ESTOP', 'ESTOP')
    fleet.press('/arm/estop', False)
    # The other stop of arm1 is still pressed, and no arm resumes without a rearm.
    fleet.observer.wait(lambda: 'released' in fleet.reasons['arm2'], 'the release',
                        fleet.nodes['arm2'])
    assert 'is pressed' in fleet.reasons['arm1']
    assert fleet.states == dict.fromkeys(NAMES, 'ESTOP')


def test_an_invalid_topic_name_of_the_common_stop_is_refused() -> None:
    node = NodeProcess(next_domain(), 'obedient', {'safety.common_estop': 'no topic'})
    assert node.wait() == 2
    assert 'safety.common_estop' in '\n'.join(node.errors)
    assert 'Traceback' not in '\n'.join(node.errors)


@pytest.fixture
def simulator() -> Iterator[Observer]:
    pytest.importorskip('vla_ros.worlds.world')
    domain = next_domain()
    process = subprocess.Popen(
        [sys.executable, '-m', 'vla_ros.sim.node', '--arms', '2'],
        env={**os.environ, 'ROS_DOMAIN_ID': str(domain),
             'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'})
    observer = Observer(domain, takes_commands=False)
    yield observer
    observer.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 0


def test_simulated_arms_follow_their_own_commands_and_the_common_stop(simulator: Observer) -> None:
    positions: dict[str, np.ndarray] = {}
    images: dict[str, Image] = {}
    commanders, target = {}, {}

    def measure(name: str):
        def take(message: JointState) -> None:
            positions[name] = np.array(message.position)
        return take

    for name in NAMES:
        simulator.listen(JointState, f'/{name}/joint_states', NEWEST, measure(name))
        simulator.listen(Image, f'/{name}/camera/image_raw', NEWEST,
                         lambda image, name=name: images.update({name: image}))
        commanders[name] = simulator.node.create_publisher(
            JointState, f'/{name}/arm/joint_command', RELIABLE)
    common = simulator.node.create_publisher(Bool, '/arm/estop', RELIABLE)
    with simulator.changed:
        assert simulator.changed.wait_for(lambda: len(positions) + len(images) == 4, DEADLINE)
        start = {name: position.copy() for name, position in positions.items()}
    names = ['joint_1']

    def command() -> None:
        for name, aim in target.items():
            commanders[name].publish(JointState(name=names, position=[aim]))

    simulator.node.create_timer(0.05, command)
    target['arm1'] = start['arm1'][0] + 0.3
    with simulator.changed:
        assert simulator.changed.wait_for(
            lambda: positions['arm1'][0] > start['arm1'][0] + 0.2, DEADLINE)
        assert abs(positions['arm2'] - start['arm2']).max() < 0.05
    common.publish(Bool(data=True))
    target['arm2'] = start['arm2'][0] + 0.3
    target['arm1'] = start['arm1'][0] - 0.3
    with simulator.changed:
        assert not simulator.changed.wait_for(
            lambda: positions['arm2'][0] > start['arm2'][0] + 0.2, 2.0)
    common.publish(Bool(data=False))
    with simulator.changed:
        assert simulator.changed.wait_for(
            lambda: positions['arm2'][0] > start['arm2'][0] + 0.2, DEADLINE)


@pytest.mark.parametrize('arguments', [
    ['--arms', '0'], ['--arms', '9'],
    ['--arms', '2', '--ros-args', '-p', 'publish_clock:=true']])
def test_invalid_options_for_several_arms_are_refused_in_one_line(arguments: list[str]) -> None:
    pytest.importorskip('vla_ros.worlds.world')
    done = subprocess.run([sys.executable, '-m', 'vla_ros.sim.node', *arguments],
                          env={**os.environ, 'ROS_DOMAIN_ID': str(next_domain())},
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert 'vla_sim: ' in done.stderr and 'Traceback' not in done.stderr
