# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The simulated arm as a process: its topics, commands, emergency stop and reset."""

import os
import signal
import subprocess
import sys
import time

from domains import next_domain
from node_harness import DEADLINE
from node_harness import NEWEST
from node_harness import Observer
from node_harness import RELIABLE
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vla_ros.worlds.world')

from rclpy.qos import QoSDurabilityPolicy  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.worlds.expert import Expert  # noqa: E402
from vla_ros.worlds.follower import COMMAND_TIMEOUT  # noqa: E402
from vla_ros.worlds.robot import JOINTS  # noqa: E402
from vla_ros.worlds.robot import Robot  # noqa: E402

LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
ROBOT = Robot.load()


class Bench:
    """A running simulator, and a node that commands and observes it."""

    def __init__(self, *parameters):
        domain = next_domain()
        command = [sys.executable, '-m', 'vla_ros.sim.node', '--ros-args']
        for parameter in parameters:
            command += ['-p', parameter]
        self.process = subprocess.Popen(command, env={
            **os.environ, 'ROS_DOMAIN_ID': str(domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'})
        self.observer = Observer(domain)
        self.images, self.infos, self.joints, self.descriptions = [], [], [], []
        for kind, topic, qos, messages in (
                (Image, '/camera/image_raw', NEWEST, self.images),
                (CameraInfo, '/camera/camera_info', 10, self.infos),
                (JointState, '/joint_states', NEWEST, self.joints),
                (String, '/robot_description', LATCHED, self.descriptions)):
            self.observer.listen(kind, topic, qos, messages.append)
        node = self.observer.node
        self.commander = node.create_publisher(JointState, '/arm/joint_command', RELIABLE)
        self.stops = {name: node.create_publisher(Bool, '/arm/estop', profile)
                      for name, profile in (('reliable', RELIABLE), ('best effort', NEWEST),
                                            ('transient local', LATCHED))}
        self.resetting = node.create_client(Trigger, '/vla_sim/reset')
        self.success = node.create_client(Trigger, '/vla_sim/success')

    def wait(self, condition):
        with self.observer.changed:
            assert self.observer.changed.wait_for(condition, DEADLINE)

    def call(self, client):
        assert client.wait_for_service(DEADLINE)
        future = client.call_async(Trigger.Request())
        self.wait(future.done)
        return future.result()

    def command(self, target):
        self.commander.publish(JointState(name=list(JOINTS), position=target.tolist()))

    def speed(self):
        """Return the highest joint speed of the newest joint state, rad/s."""
        return np.abs(self.joints[-1].velocity[:6]).max()

    def drive(self, target, condition):
        """Command a target with each joint state until a condition holds."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline
            self.command(target)
            before = len(self.joints)
            self.wait(lambda: len(self.joints) > before)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.observer.close()


@pytest.fixture(scope='module')
def bench():
    bench = Bench('seed:=5')
    bench.wait(lambda: bench.images and bench.joints)
    yield bench
    assert bench.end() == 0


def distant_target(bench):
    """Return joint positions at a distance from the present ones."""
    angle = -0.5 if bench.joints[-1].position[0] > 0 else 0.5
    return Expert(ROBOT).joints(np.array([0.4 * np.cos(angle), 0.4 * np.sin(angle), 0.2]), 0.0)


def test_images_camera_info_description_and_joint_states_are_published(bench):
    bench.wait(lambda: bench.infos and bench.descriptions)
    image, info = bench.images[-1], bench.infos[-1]
    assert (image.encoding, image.height, image.width) == ('rgb8', 224, 224)
    assert image.header.frame_id == info.header.frame_id == 'camera_color_optical_frame'
    assert (info.height, info.width) == (224, 224) and info.k[0] > 100
    pixels = np.frombuffer(image.data, np.uint8)
    assert pixels.std() > 10, 'the image is uniform'
    assert bench.descriptions[-1].data == ROBOT.urdf
    assert bench.joints[-1].name == list(JOINTS)


def test_the_arm_follows_commands_and_stops_when_they_end(bench):
    bench.drive(distant_target(bench), lambda: bench.speed() > 0.3)
    # Counted in simulated time, as a busy machine is slower.
    before = len(bench.joints)
    count = int((COMMAND_TIMEOUT + 0.2) / 0.01)
    bench.wait(lambda: len(bench.joints) > before + count)
    assert bench.speed() < 0.02
    target = distant_target(bench)
    bench.drive(target, lambda: np.abs(bench.joints[-1].position - target).max() < 0.01)


@pytest.mark.parametrize('qos', ['reliable', 'best effort', 'transient local'])
def test_an_emergency_stop_of_any_qos_holds_until_its_release(bench, qos):
    target = distant_target(bench)
    bench.drive(target, lambda: bench.speed() > 0.3)
    bench.stops[qos].publish(Bool(data=True))
    bench.drive(target, lambda: bench.speed() < 0.02)
    before = len(bench.joints)
    bench.drive(target, lambda: len(bench.joints) > before + 30)
    assert bench.speed() < 0.02, 'it moves during an emergency stop'
    bench.stops[qos].publish(Bool(data=False))
    bench.drive(target, lambda: bench.speed() > 0.3)


def test_reset_restores_the_scene_and_success_refers_to_the_instruction(bench):
    images = []
    for _ in range(2):
        bench.drive(distant_target(bench), lambda: bench.speed() > 0.3)
        # A command that is still on its way would move the arm after the reset.
        bench.wait(lambda: bench.speed() < 0.02)
        assert bench.call(bench.resetting).success
        before, seen = len(bench.joints), len(bench.images)
        # The image after the next one is of the scene at rest, however late images come.
        bench.wait(lambda: len(bench.joints) > before + 60 and len(bench.images) > seen + 2)
        images.append(np.array(bench.images[-1].data))
    # The arm comes to rest within 1e-5 rad, which moves single pixels of an edge; a block that
    # lies elsewhere changes hundreds.
    assert np.not_equal(*images).mean() < 1e-3
    assert bench.call(bench.success).message.startswith('no task')
    bench.observer.operator.publish(String(data='push the red block'))
    deadline = time.monotonic() + DEADLINE
    while 'not yet' not in bench.call(bench.success).message:
        assert time.monotonic() < deadline
    assert not bench.call(bench.success).success
