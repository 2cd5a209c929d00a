# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The operator's side of the demo: gives instructions and watches what comes out."""

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from vla_ros.demo.record import Command
from vla_ros.demo.record import Record
from vla_ros.errors import VlaError

COMMAND_TOPIC = '/arm/joint_command'
IMAGE_TOPIC = '/camera/image_raw'
INSTRUCTION_TOPIC = '/vla/instruction'


class ForeignPublisherError(VlaError):
    """Somebody else publishes what the demo publishes."""

    def __init__(self, topic: str, count: int) -> None:
        super().__init__(f'{count} nodes publish {topic}, one of them the demo: set ROS_DOMAIN_ID '
                         'to a number that nobody else here uses')


class DemoObserver(Node):
    """Records the commands, and what the inference node says of itself."""

    def __init__(self, instruction: str) -> None:
        """
        Subscribe.

        :param instruction: the one that the inference node was started with.
        """
        super().__init__('demo_observer')
        self.record = Record()
        self.record.add_instruction(self.now(), instruction)
        self.frames = 0
        #: What the inference node last said of itself in /diagnostics.
        self.policy: dict[str, str] = {}

        self.create_subscription(JointState, COMMAND_TOPIC, self._on_command, QoSProfile(depth=1))
        self.create_subscription(CameraInfo, '/camera/camera_info', self._on_frame, 10)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._instructions = self.create_publisher(String, INSTRUCTION_TOPIC, QoSProfile(depth=1))

    def now(self) -> float:
        """Return the ROS clock in seconds."""
        return self.get_clock().now().nanoseconds * 1e-9

    def can_instruct(self) -> bool:
        """Tell whether somebody listens to instructions."""
        return self._instructions.get_subscription_count() > 0

    def instruct(self, instruction: str) -> None:
        """Give another instruction."""
        self._instructions.publish(String(data=instruction))
        self.record.add_instruction(self.now(), instruction)

    def check_alone(self) -> None:
        """
        Make sure that what is counted is the demo's own.

        :raises ForeignPublisherError: somebody else publishes the same topics.
        """
        for topic in (IMAGE_TOPIC, COMMAND_TOPIC):
            count = self.count_publishers(topic)
            if count > 1:
                raise ForeignPublisherError(topic, count)

    def _on_command(self, message: JointState) -> None:
        stamp = Time.from_msg(message.header.stamp)
        self.record.add_command(Command(
            image_time=stamp.nanoseconds * 1e-9, arrival_time=self.now(),
            names=tuple(message.name), positions=tuple(message.position)))

    def _on_frame(self, message: CameraInfo) -> None:
        """Count an image by the small message that goes with it."""
        self.frames += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(': policy'):
                self.policy = {'message': status.message,
                               **{item.key: item.value for item in status.values}}
