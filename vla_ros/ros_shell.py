# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the inference needs of ROS: time, images, and publishers for all that it has to say."""

from collections.abc import Callable
from functools import partial
from queue import Empty
from queue import SimpleQueue
import time
from typing import Any
from typing import Optional

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from rclpy.subscription import Subscription
from std_msgs.msg import Bool
from std_msgs.msg import String

try:
    from rclpy.event_handler import PublisherEventCallbacks
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks
    from rclpy.qos_event import SubscriptionEventCallbacks

from vla_ros import messages
from vla_ros.camera import Camera
from vla_ros.command_publisher import CommandPublisher
from vla_ros.command_publisher import QUIET
from vla_ros.errors import UnsupportedError
from vla_ros.joint_command import JointCommand
from vla_ros.motion.arm import ArmCommand
from vla_ros.parameters import NodeConfig
from vla_ros.shell import Answer
from vla_ros.status import Status

RELIABLE = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE,
                     durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)

#: Seconds to wait for the topic robot_description.
_DESCRIPTION_TIMEOUT = 10.0


class RosShell:
    """
    A node, as :class:`vla_ros.shell.Shell` wants to see it.

    :ivar button: the subscription of the emergency stop, which no executor takes from.
    """

    button: Subscription

    def __init__(self, node: Node, config: NodeConfig,
                 refuse: Callable[[str, Any], None]) -> None:
        """
        Make the publishers.

        :param refuse: called with the topic and the event when someone's QoS do not fit.
        """
        self._node = node
        self._config = config
        self._refuse = refuse
        self._commands = CommandPublisher(
            node, config.output, RELIABLE, event_callbacks=PublisherEventCallbacks(
                incompatible_qos=partial(refuse, 'arm/joint_command'),
                use_default_callbacks=False))
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 10,
                                                  event_callbacks=QUIET)
        self._actions = self._statuses = None
        self._description: SimpleQueue[str] = SimpleQueue()
        if config.robot_urdf == 'topic':
            node.create_subscription(
                String, 'robot_description', lambda message: self._description.put(message.data),
                LATCHED, callback_group=MutuallyExclusiveCallbackGroup(),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=partial(refuse, 'robot_description'),
                    use_default_callbacks=False))
        if messages.VlaAction is None:
            node.get_logger().warning(messages.HOW_TO_BUILD)
            return
        self._actions = node.create_publisher(messages.VlaAction, 'vla/action', RELIABLE,
                                              event_callbacks=QUIET)
        self._statuses = node.create_publisher(messages.VlaStatus, 'vla/status', LATCHED,
                                               event_callbacks=QUIET)

    def open_camera(self, take: Callable[[Any], None]) -> Camera:
        """
        Connect to the camera; to be called before anything else is asked for.

        :param take: called with each image, from a thread of its own; must not wait.
        """
        self._camera = Camera(self._node, self._config.image_source, take, self._refuse)
        return self._camera

    def now(self) -> int:
        """Give the ROS time in nanoseconds."""
        return self._node.get_clock().now().nanoseconds

    def read_image(self, image: Any) -> np.ndarray:
        """Give the pixels of an image, uint8 (H, W, 3) RGB."""
        return self._camera.read(image)

    def view_image(self, image: Any) -> Optional[np.ndarray]:
        """Give the pixels of an image if they only have to be looked at, or None."""
        return self._camera.view(image)

    def read_button(self) -> Optional[bool]:
        """Take what the emergency stop has said since: pressed or not; None if nothing."""
        taken = self.button.handle.take_message(Bool, False)
        return None if taken is None else taken[0].data

    def motion_time(self) -> float:
        """Give seconds of the clock by which the arm moves: steady, or simulated."""
        return self.now() / 1e9 if self.is_simulated() else time.monotonic()

    def is_simulated(self) -> bool:
        """Tell whether the ROS time is simulated."""
        return self._node.get_clock().ros_time_is_active

    def stamp_of(self, image: Any) -> int:
        """Give the stamp of an image message in nanoseconds, 0 if it has none."""
        return messages.nanoseconds(image.header.stamp)

    def robot_description(self) -> str:
        """Wait for the URDF's text on its topic."""
        try:
            return self._description.get(timeout=_DESCRIPTION_TIMEOUT)
        except Empty:
            topic = self._node.resolve_topic_name('robot_description')
            raise UnsupportedError('robot.urdf', f'nothing on {topic} for '
                                   f'{_DESCRIPTION_TIMEOUT:g} s',
                                   'start robot_state_publisher') from None

    def publish_hold(self, command: JointCommand, is_shadow: bool) -> None:
        """Publish a command that answers no image."""
        self._commands.joint_state(None, command.names, command.positions, is_shadow)

    def publish_motion(self, command: ArmCommand, image: Any, is_shadow: bool) -> None:
        """Publish what the arm is to do now."""
        self._commands.motion(command, image and image.header, is_shadow)

    def publish_answer(self, answer: Answer) -> float:
        """Publish a command and its account; give the age of its image in seconds."""
        published = self.now()
        if answer.command is not None:
            self._commands.joint_state(answer.frame.image.header, answer.command.names,
                                       answer.command.positions, answer.is_shadow)
        if self._actions is not None:
            self._actions.publish(messages.vla_action(answer, published))
        return messages.age(answer, published)

    def publish_status(self, status: Status) -> None:
        """Publish the status and the diagnostics."""
        now = self.now()
        if self._statuses is not None:
            self._statuses.publish(messages.vla_status(now, status))
        self._diagnostics.publish(messages.diagnostics(
            now, self._node.get_name(), self._config.checkpoint, status, self._camera.facts()))
