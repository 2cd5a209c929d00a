# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A node that is killed is respawned by launch, loads, and commands again."""

import os
import signal
import threading
import time
import unittest

import pytest

for _name in ('launch_testing', 'launch_ros'):
    pytest.importorskip(_name, reason=f'{_name} is part of a ROS 2 installation')
pytest.importorskip('torch', reason='needs torch: the real policy runs')

from launch import LaunchDescription  # noqa: E402, I100
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.actions import RegisterEventHandler  # noqa: E402
from launch.actions import SetEnvironmentVariable  # noqa: E402
from launch.event_handlers import OnProcessStart  # noqa: E402
from launch.substitutions import PathJoinSubstitution  # noqa: E402
from launch_harness import DEADLINE  # noqa: E402
from launch_harness import RestoresEnvironment  # noqa: E402
from launch_harness import WithNode  # noqa: E402
from launch_ros.substitutions import FindPackageShare  # noqa: E402
import launch_testing  # noqa: E402
from launch_testing.actions import ReadyToTest  # noqa: E402
from node_harness import camera_image  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from vla_ros.util.demo_checkpoint import checkpoint_folder  # noqa: E402
from vla_ros.util.demo_checkpoint import ensure_checkpoint  # noqa: E402

#: Notified of each start of the node.
started = threading.Condition()
pids: list[int] = []


def on_start(event, context):
    """Keep the id of the node's process."""
    if 'vla_inference_node' in event.process_name:
        with started:
            pids.append(event.pid)
            started.notify_all()


@pytest.mark.launch_test
def generate_test_description():
    """Return the launch file with a tiny checkpoint, and a handler that counts starts."""
    launch_file = PathJoinSubstitution(
        [FindPackageShare('vla_ros'), 'launch', 'vla_inference.launch.py'])
    arguments = {'checkpoint': str(ensure_checkpoint(checkpoint_folder())), 'device': 'cpu',
                 'instruction': 'pick up the cup', 'respawn': 'true'}
    return LaunchDescription([
        SetEnvironmentVariable('ROS_DOMAIN_ID', str(WithNode.domain)),
        SetEnvironmentVariable('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'),
        RegisterEventHandler(OnProcessStart(on_start=on_start)),
        IncludeLaunchDescription(launch_file, launch_arguments=arguments.items()),
        ReadyToTest(),
    ])


class TestRespawn(WithNode, unittest.TestCase):
    """While it is launched."""

    def setUp(self):
        super().setUp()
        self.changed = threading.Condition()
        self.times = []
        self.node.create_subscription(JointState, '/arm/joint_command', self.take_command,
                                      QoSProfile(depth=1))
        camera = self.node.create_publisher(Image, '/camera/image_raw', QoSProfile(depth=1))
        image = camera_image(200, size=(224, 224))
        self.node.create_timer(0.1, lambda: camera.publish(image))

    def take_command(self, command):
        with self.changed:
            self.times.append(time.monotonic())
            self.changed.notify_all()

    def wait_for_commands(self, count):
        with self.changed:
            end = len(self.times) + count
            self.assertTrue(self.changed.wait_for(lambda: len(self.times) >= end, DEADLINE),
                            'no commands')

    def test_a_killed_node_is_respawned_and_commands_again(self):
        self.wait_for_commands(3)
        os.kill(pids[-1], signal.SIGKILL)
        killed = time.monotonic()
        with started:
            self.assertTrue(started.wait_for(lambda: len(pids) == 2, DEADLINE), 'no second node')
        with self.changed:
            # Until the second node starts, a second later, there are no commands.
            self.assertLess(self.times[-1] - killed, 0.8, 'commands of a dead node')
        self.assertNotEqual(*pids)
        self.wait_for_commands(3)


@launch_testing.post_shutdown_test()
class TestEnd(RestoresEnvironment, unittest.TestCase):
    """After it was asked to end."""

    def test_the_node_is_not_respawned_when_launch_ends(self):
        self.assertEqual(len(pids), 2)
