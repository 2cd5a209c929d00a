# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""demo.launch.py on a ROS installation: commands answer the camera, and everything ends well."""

import os
import random
import time
import unittest

import pytest

for _name in ('launch_testing', 'launch_ros'):
    pytest.importorskip(_name, reason=f'{_name} is part of a ROS 2 installation')
pytest.importorskip('torch', reason='needs torch: the demo runs the real policy')

from launch import LaunchDescription  # noqa: E402,I100
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.actions import SetEnvironmentVariable  # noqa: E402
from launch.substitutions import PathJoinSubstitution  # noqa: E402
from launch_ros.substitutions import FindPackageShare  # noqa: E402
import launch_testing  # noqa: E402
from launch_testing.actions import ReadyToTest  # noqa: E402
from launch_testing.asserts import assertExitCodes  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

DEADLINE = 120.0
DOMAIN = random.randint(1, 101)
# Launch changes the environment of its own process, which is that of the other tests, too.
ENVIRONMENT = dict(os.environ)


@pytest.mark.launch_test
def generate_test_description():
    demo = PathJoinSubstitution([FindPackageShare('vla_ros'), 'launch', 'demo.launch.py'])
    return LaunchDescription([
        SetEnvironmentVariable('ROS_DOMAIN_ID', str(DOMAIN)),
        IncludeLaunchDescription(demo, launch_arguments={'device': 'cpu'}.items()),
        ReadyToTest(),
    ])


class TestDemo(unittest.TestCase):
    """While it runs."""

    def setUp(self):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node('demo_test', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def tearDown(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def test_commands_answer_frames_of_the_camera(self):
        frames, commands = set(), []
        self.node.create_subscription(
            CameraInfo, '/camera/camera_info', lambda info: frames.add(key(info)), 10)
        self.node.create_subscription(JointState, '/arm/joint_command', commands.append,
                                      QoSProfile(depth=1))
        deadline = time.monotonic() + DEADLINE
        while len([command for command in commands if key(command) in frames]) < 5:
            self.assertLess(time.monotonic(), deadline, 'too few commands answered a frame')
            self.executor.spin_once(timeout_sec=0.1)
        self.assertEqual(commands[0].header.frame_id, 'camera_color_optical_frame')
        self.assertEqual(list(commands[0].name),
                         ['x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper'])


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After it was asked to end."""

    @classmethod
    def tearDownClass(cls):
        os.environ.clear()
        os.environ.update(ENVIRONMENT)

    def test_every_process_ended_well(self, proc_info):
        assertExitCodes(proc_info)
        self.assertEqual(len(list(proc_info)), 3)


def key(message):
    return message.header.stamp.sec, message.header.stamp.nanosec
