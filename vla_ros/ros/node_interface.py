# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The core's interface to ROS, implemented by a node: time, images, publishers."""

from collections.abc import Callable
from collections.abc import Iterable
from functools import partial
from queue import Empty
from queue import SimpleQueue
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription
from std_msgs.msg import String

from vla_ros.control.joint_command import JointCommand
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.ros_interface import InferenceResult
from vla_ros.control.status import Status
from vla_ros.errors import UnsupportedError
from vla_ros.motion.arm import ArmCommand
from vla_ros.ros import messages
from vla_ros.ros.camera import Camera
from vla_ros.ros.command_publisher import CommandPublisher
from vla_ros.ros.command_publisher import QUIET
from vla_ros.ros.estop_input import EstopInputs
from vla_ros.ros.qos import LATCHED
from vla_ros.ros.qos import RELIABLE
from vla_ros.ros.qos_events import SubscriptionEventCallbacks
from vla_ros.ros.teleop_input import TeleopInput
from vla_ros.safety.deadman import DeadmanSample
from vla_ros.safety.emergency_stop import EstopSample
from vla_ros.safety.emergency_stop import EstopTopicState

#: Seconds to wait for the topic robot_description.
_DESCRIPTION_TIMEOUT = 10.0


class NodeInterface:
    """Implements :class:`vla_ros.control.ros_interface.RosInterface` by a node."""

    def __init__(self, node: Node, config: NodeConfig,
                 refuse: Callable[[str, Any], None]) -> None:
        """
        Make the publishers.

        :param refuse: called with the topic and the event when someone's QoS are incompatible.
        """
        self._node = node
        self._config = config
        self._refuse = refuse
        #: The emergency stop's subscriptions.
        self.estop = EstopInputs(node, config.common_estop)
        #: Topics of a teleoperator, None where ``teleop.enabled`` is false.
        self.teleop = TeleopInput(node, refuse) if config.teleop_enabled else None
        self._commands = CommandPublisher(node, config.output, config.grippers_as, RELIABLE,
                                          refuse)
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

    def open_camera(self, take: Callable[[Any], None],
                    ended: Callable[[BaseException], None]) -> Camera:
        """
        Connect to the camera; to be called before anything else is asked for.

        :param take: called with each image, from a thread of its own; must not wait.
        :param ended: called with what has ended that thread.
        """
        self._camera = Camera(self._node, self._config.image_source, take, self._refuse, ended)
        return self._camera

    def now(self) -> int:
        """Return the ROS time in nanoseconds."""
        return self._node.get_clock().now().nanoseconds

    def read_image(self, image: Any) -> np.ndarray:
        """Return the pixels of an image, uint8 (H, W, 3) RGB."""
        return self._camera.read(image)

    def view_image(self, image: Any) -> np.ndarray | None:
        """Return the same as a view of the message, or None where pixels have to be converted."""
        return self._camera.view(image)

    def take_estop(self) -> Iterable[EstopSample]:
        """Return the new messages of the emergency stop."""
        return self.estop.take()

    def take_deadman(self) -> Iterable[DeadmanSample]:
        """Return the new messages of the deadman."""
        assert self.teleop is not None, 'asked for where it is enabled only'
        return self.teleop.take()

    @property
    def polled(self) -> list[Subscription]:
        """Subscriptions that the motion loop waits for: of emergency stop and deadman."""
        return [*self.estop.subscriptions,
                *([] if self.teleop is None else [self.teleop.subscription])]

    def find_estop_publishers(self) -> EstopTopicState:
        """Return the emergency stop's publishers of this moment."""
        return self.estop.find_publishers()

    def motion_time(self) -> float:
        """Return seconds of the clock by which the arm moves: steady, or simulated."""
        return self.now() / 1e9 if self.is_simulated() else time.monotonic()

    def is_simulated(self) -> bool:
        """Return whether the ROS time is simulated."""
        return self._node.get_clock().ros_time_is_active

    def stamp_of(self, image: Any) -> int:
        """Return the stamp of an image message in nanoseconds, 0 if it has none."""
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

    def publish_command(self, command: JointCommand, image: Any, is_shadow: bool) -> None:
        """Publish a command for joints."""
        self._commands.joint_state(image and image.header, command.names, command.positions,
                                   is_shadow)

    def publish_motion(self, command: ArmCommand, image: Any, stamp: int) -> None:
        """Publish a command for the arm."""
        self._commands.motion(command, image and image.header, stamp)

    def publish_result(self, result: InferenceResult, published: int) -> float:
        """Publish the account of a result; return the age of its image in seconds."""
        if self._actions is not None:
            self._actions.publish(messages.vla_action(result, published))
        return messages.age(result, published)

    def publish_status(self, status: Status) -> None:
        """Publish the status and the diagnostics."""
        now = self.now()
        if self._statuses is not None:
            self._statuses.publish(messages.vla_status(now, status))
        self._diagnostics.publish(messages.diagnostics(
            now, self._node.get_fully_qualified_name().lstrip('/'),
            self._config.checkpoint, status, self._camera.facts()))
