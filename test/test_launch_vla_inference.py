# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""vla_inference.launch.py on a ROS installation, with a tiny checkpoint of the real class."""

from pathlib import Path
import tempfile
import threading
import unittest

import pytest

for _name in ('launch_testing', 'launch_ros'):
    pytest.importorskip(_name, reason=f'{_name} is part of a ROS 2 installation')
pytest.importorskip('torch', reason='needs torch: the real policy runs')

from launch import LaunchDescription  # noqa: E402, I100
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.actions import SetEnvironmentVariable  # noqa: E402
from launch.substitutions import PathJoinSubstitution  # noqa: E402
from launch_harness import DEADLINE  # noqa: E402
from launch_harness import RestoresEnvironment  # noqa: E402
from launch_harness import WithNode  # noqa: E402
from launch_ros.substitutions import FindPackageShare  # noqa: E402
import launch_testing  # noqa: E402
from launch_testing.actions import ReadyToTest  # noqa: E402
from launch_testing.asserts import assertExitCodes  # noqa: E402
from node_harness import camera_image  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from vla_ros.util.demo_checkpoint import checkpoint_folder  # noqa: E402
from vla_ros.util.demo_checkpoint import ensure_checkpoint  # noqa: E402

# YAML would read a mapping, a comment and a string without quotes.
INSTRUCTION = 'put bob\'s "red" cup: here # 5'
FOLDER = tempfile.TemporaryDirectory()


@pytest.mark.launch_test
def generate_test_description():
    """Return the launch file with parameters in a file, as arguments, and one in both."""
    parameters = Path(FOLDER.name) / 'parameters.yaml'
    parameters.write_text(f"""
/**:
  ros__parameters:
    checkpoint: {ensure_checkpoint(checkpoint_folder())}
    instruction: of the file
    status:
      period: 0.25
""")
    launch_file = PathJoinSubstitution(
        [FindPackageShare('vla_ros'), 'launch', 'vla_inference.launch.py'])
    arguments = {'params_file': str(parameters), 'instruction': INSTRUCTION, 'device': 'cpu',
                 'namespace': 'robot', 'log_level': 'warn'}
    return LaunchDescription([
        SetEnvironmentVariable('ROS_DOMAIN_ID', str(WithNode.domain)),
        SetEnvironmentVariable('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'),
        IncludeLaunchDescription(launch_file, launch_arguments=arguments.items()),
        ReadyToTest(),
    ])


class TestLaunchedNode(WithNode, unittest.TestCase):
    """While it runs."""

    def test_arguments_override_the_file_only_where_they_are_given(self):
        names = ['instruction', 'checkpoint', 'device', 'status.period', 'use_sim_time']
        client = self.node.create_client(GetParameters, '/robot/vla_inference_node/get_parameters')
        self.assertTrue(client.wait_for_service(DEADLINE))
        responded = threading.Event()
        future = client.call_async(GetParameters.Request(names=names))
        future.add_done_callback(lambda _: responded.set())
        self.assertTrue(responded.wait(DEADLINE))
        instruction, checkpoint, device, period, sim_time = future.result().values
        self.assertEqual(instruction.string_value, INSTRUCTION)
        self.assertEqual(checkpoint.string_value, str(checkpoint_folder()))
        self.assertEqual(device.string_value, 'cpu')
        self.assertEqual(period.double_value, 0.25)
        self.assertFalse(sim_time.bool_value)

    def test_the_camera_of_the_nodes_namespace_is_used(self):
        commanded, commands = threading.Event(), []
        self.node.create_subscription(
            JointState, '/robot/arm/joint_command',
            lambda command: (commands.append(command), commanded.set()), QoSProfile(depth=1))
        camera = self.node.create_publisher(Image, '/robot/camera/image_raw', QoSProfile(depth=1))
        image = camera_image(200, stamp=123_000_000_456, size=(224, 224))
        self.node.create_timer(0.1, lambda: camera.publish(image))
        self.assertTrue(commanded.wait(DEADLINE), 'no command')
        stamp = commands[0].header.stamp
        self.assertEqual((stamp.sec, stamp.nanosec), (123, 456))
        self.assertEqual(list(commands[0].name),
                         ['x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper'])


@launch_testing.post_shutdown_test()
class TestEnd(RestoresEnvironment, unittest.TestCase):
    """After it was asked to end."""

    @classmethod
    def tearDownClass(cls):
        FOLDER.cleanup()
        super().tearDownClass()

    def test_the_process_ended_with_status_0(self, proc_info):
        assertExitCodes(proc_info)
        # The check of the transport, and the node.
        self.assertEqual(len(list(proc_info)), 2)
