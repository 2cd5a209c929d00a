# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The topics of a teleoperator: the deadman, which the motion loop polls, and the commands."""

from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from typing import Any

from geometry_msgs.msg import TwistStamped
from rclpy.callback_groups import CallbackGroup
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_ros.control.controller import Controller
from vla_ros.motion.teleop import JointTarget
from vla_ros.motion.teleop import TipVelocity
from vla_ros.ros import messages
from vla_ros.ros.motion_loop import LoopGroup
from vla_ros.ros.qos import DEADMAN
from vla_ros.ros.qos import NEWEST
from vla_ros.ros.qos_events import SubscriptionEventCallbacks
from vla_ros.ros.teleop_senders import gid_of
from vla_ros.ros.teleop_senders import TeleopSenders
from vla_ros.safety.deadman import DeadmanSample

DEADMAN_TOPIC = 'teleop/deadman'
JOINT_TOPIC = 'teleop/joint_command'
TWIST_TOPIC = 'teleop/twist'


class TeleopInput:
    """The subscriptions of a teleoperator, and ``~/resume``; only where ``teleop.enabled``."""

    def __init__(self, node: Node, refuse: Callable[[str, Any], None]) -> None:
        """
        Subscribe to the deadman; :meth:`connect` subscribes to the commands.

        :param refuse: called with the topic and the event when someone's QoS are incompatible.
        """
        self._node = node
        self._refuse = refuse
        #: Of the deadman, in a :class:`vla_ros.ros.motion_loop.LoopGroup`.
        self.subscription = self._subscribe(Bool, DEADMAN_TOPIC, lambda _: None, DEADMAN,
                                            LoopGroup())
        self._senders = TeleopSenders(node, DEADMAN_TOPIC)
        self._controller: Controller | None = None

    def connect(self, controller: Controller) -> None:
        """Forward commands to a controller."""
        self._controller = controller
        # One at a time, beside everything else: planning a command takes a millisecond.
        group = MutuallyExclusiveCallbackGroup()
        self._subscribe(JointState, JOINT_TOPIC, self._on_joints, NEWEST, group)
        self._subscribe(TwistStamped, TWIST_TOPIC, self._on_twist, NEWEST, group)
        self._node.create_service(Trigger, '~/resume', self._on_resume)

    def take(self) -> Iterator[DeadmanSample]:
        """Return the new messages of the deadman; later ones are left to the next call."""
        for _ in range(DEADMAN.depth):
            try:
                taken = self.subscription.handle.take_message(Bool, False)
            except Exception as error:  # whatever was sent: it may have been meant as a release
                self._node.get_logger().error(
                    f'a message on {DEADMAN_TOPIC} cannot be read, which counts as a release: '
                    f'{error}', throttle_duration_sec=1.0)
                yield DeadmanSample(False, None)
                return
            if taken is None:
                return
            yield DeadmanSample(bool(taken[0].data), gid_of(taken[1]))

    def _subscribe(self, kind: Any, topic: str, callback: Callable[..., None], qos: QoSProfile,
                   group: CallbackGroup) -> Subscription:
        return self._node.create_subscription(
            kind, topic, callback, qos, callback_group=group,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=partial(self._refuse, topic), use_default_callbacks=False))

    def _on_joints(self, message: JointState, info: Any) -> None:
        self._take(JointTarget(tuple(message.name), tuple(message.position)), message.header,
                   JOINT_TOPIC, info)

    def _on_twist(self, message: TwistStamped, info: Any) -> None:
        linear, angular = message.twist.linear, message.twist.angular
        self._take(TipVelocity((linear.x, linear.y, linear.z), (angular.x, angular.y, angular.z),
                               message.header.frame_id), message.header, TWIST_TOPIC, info)

    def _take(self, command: JointTarget | TipVelocity, header: Any, topic: str,
              info: Any) -> None:
        controller = self._controller
        assert controller is not None, 'connect has subscribed'
        holder = controller.teleoperator
        if holder is None:
            return
        check = self._senders.check(topic, gid_of(info), holder)
        if check.problem and check.is_foreign:
            self._node.get_logger().warning(check.problem, throttle_duration_sec=5.0)
        elif check.problem:
            controller.teleoperation.refuse(check.problem)
        else:
            controller.teleoperation.take(command, messages.nanoseconds(header.stamp))

    def _on_resume(self, request: Trigger.Request,
                   response: Trigger.Response) -> Trigger.Response:
        assert self._controller is not None, 'connect has made the service'
        response.message = self._controller.resume()
        response.success = not response.message
        return response
