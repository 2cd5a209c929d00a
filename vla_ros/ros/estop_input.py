# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The subscriptions of the emergency stop: they receive from publishers of any QoS."""

from collections.abc import Callable
from collections.abc import Iterator
import threading
import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from std_msgs.msg import Bool

from vla_ros.errors import ParameterError
from vla_ros.ros.motion_loop import LoopGroup
from vla_ros.ros.qos import ESTOP_DEPTH
from vla_ros.ros.qos import ESTOP_PROFILES
from vla_ros.ros.qos_events import SubscriptionEventCallbacks
from vla_ros.safety.emergency_stop import EstopSample
from vla_ros.safety.emergency_stop import EstopTopicState

#: The emergency stop of one robot.
OWN_TOPIC = 'arm/estop'
_TYPE = 'std_msgs/msg/Bool'
#: Seconds for which an event is believed although the graph does not show its publisher yet.
_GRAPH_DELAY = 2.0
#: Consecutive checks in which a publisher must be unconnected to be a mismatch.
_CHECKS = 3
#: Of a gid that count; some distributions pad it to 24.
_GID_BYTES = 16


class EstopInputs:
    """The emergency stops of a robot: its own, and one that it shares with others."""

    def __init__(self, node: Node, common: str = '') -> None:
        """
        Subscribe.

        :param common: topic of the shared one; empty for none.
        :raises ParameterError: it is no name of a topic.
        """
        topics = [node.resolve_topic_name(OWN_TOPIC)]
        if common:
            try:
                topics.append(node.resolve_topic_name(common))
            except Exception as error:  # its class depends on the distribution
                raise ParameterError('safety.common_estop', common,
                                     f'the name of a topic ({error})') from None
        self._inputs = [EstopInput(node, topic) for topic in dict.fromkeys(topics)]
        #: All subscriptions.
        self.subscriptions = tuple(subscription for one in self._inputs
                                   for subscription in one.subscriptions)

    def call_on_mismatch(self, call: Callable[[], None]) -> None:
        """Set what is called, from a thread of an executor, for an incompatible publisher."""
        for one in self._inputs:
            one.on_mismatch = call

    def take(self) -> Iterator[EstopSample]:
        """Return the new messages; see :meth:`EstopInput.take`."""
        for one in self._inputs:
            yield from one.take()

    def find_publishers(self) -> EstopTopicState:
        """Return the publishers of all topics."""
        views = [one.find_publishers() for one in self._inputs]
        return EstopTopicState(sum((view.publishers for view in views), ()),
                               '; '.join(filter(None, (view.mismatch for view in views))),
                               sum((view.latched for view in views), ()))


class EstopInput:
    """
    Owns all subscriptions of one topic of the emergency stop.

    No executor takes from them: :meth:`take` does, from whatever thread is about to send, and the
    loop of :class:`vla_ros.ros.motion_loop.MotionLoop` wakes up for them.
    """

    def __init__(self, node: Node, topic: str) -> None:
        """
        Subscribe.

        :param topic: resolved.
        """
        self._node = node
        self._topic = topic
        self._lock = threading.Lock()
        self._policy = ''
        self._believed_until = 0.0
        self._unconnected = 0
        #: Called, from a thread of an executor, when a publisher turns out to be incompatible.
        self.on_mismatch: Callable[[], None] = lambda: None
        # Only a mismatch of the first one means that a publisher cannot be received.
        events = (SubscriptionEventCallbacks(incompatible_qos=self._on_mismatch,
                                             use_default_callbacks=False),
                  *[SubscriptionEventCallbacks(use_default_callbacks=False)] * 2)
        self.subscriptions: tuple[Subscription, ...] = tuple(
            node.create_subscription(Bool, topic, lambda _: None, profile,
                                     callback_group=LoopGroup(), event_callbacks=callbacks)
            for profile, callbacks in zip(ESTOP_PROFILES, events))

    def take(self) -> Iterator[EstopSample]:
        """Return the new messages; later ones are left to the next call."""
        for subscription in self.subscriptions:
            for _ in range(ESTOP_DEPTH):
                try:
                    taken = subscription.handle.take_message(Bool, False)
                except Exception as error:  # whatever was sent: it may have been meant to stop
                    self._node.get_logger().error(
                        f'a message on {self._topic} cannot be read, which counts as a press: '
                        f'{error}', throttle_duration_sec=1.0)
                    yield EstopSample(True, None)
                    break
                if taken is None:
                    break
                yield _sample(*taken)

    def find_publishers(self) -> EstopTopicState:
        """Return the topic's publishers, and which of them this node cannot receive."""
        found = self._node.get_publishers_info_by_topic(self._topic)
        with self._lock:
            mismatches = [f'{_name(one)} publishes {one.topic_type} on {self._topic}, where this '
                          f'node expects {_TYPE}' for one in found if one.topic_type != _TYPE]
            fitting = [one for one in found if one.topic_type == _TYPE]
            mismatches += self._find_unconnected(fitting)
        publishers = tuple((_gid(one.endpoint_gid), _name(one)) for one in fitting)
        latched = tuple(_gid(one.endpoint_gid) for one in fitting
                        if one.qos_profile.durability is QoSDurabilityPolicy.TRANSIENT_LOCAL)
        return EstopTopicState(publishers, '; '.join(mismatches), latched)

    def _find_unconnected(self, publishers: list[Any]) -> list[str]:
        count = getattr(self.subscriptions[0], 'get_publisher_count', None)  # Humble has none
        unconnected = len(publishers) - count() if count is not None else (
            len(publishers) if self._policy else 0)
        self._unconnected = self._unconnected + 1 if unconnected > 0 else 0
        if unconnected <= 0 and time.monotonic() > self._believed_until:
            self._policy = ''
        if not self._policy and self._unconnected < _CHECKS:
            return []
        asked = (f'QoS mismatch{f" in {self._policy}" if self._policy else ""}: this node asks '
                 f'for {_describe(ESTOP_PROFILES[0])} on {self._topic}, ')
        offers = ', '.join(f'{_name(one)} offers {_describe(one.qos_profile)}'
                           for one in publishers)
        if unconnected <= 0 or not offers:
            return [f'{asked}someone there does not offer it']
        return [f'{asked}{offers}' + (f'; {unconnected} of these cannot be received'
                                      if len(publishers) > unconnected else '')]

    def _on_mismatch(self, event: Any) -> None:
        with self._lock:
            kind = event.last_policy_kind
            self._policy = str(getattr(kind, 'name', kind))
            self._believed_until = time.monotonic() + _GRAPH_DELAY
        self.on_mismatch()


def _sample(message: Bool, info: Any) -> EstopSample:
    # Humble gives the stamp alone, Jazzy no gid, CycloneDDS no number.
    gid = info.get('publisher_gid') or {}
    return EstopSample(bool(message.data), _gid(gid.get('data', b'')),
                       int(info.get('publication_sequence_number') or 0),
                       max(0, int(info.get('source_timestamp') or 0)))


def _gid(gid: Any) -> bytes:
    return bytes(gid)[:_GID_BYTES]


def _name(info: Any) -> str:
    if not info.node_name or info.node_name.startswith('_'):  # _NODE_NAME_UNKNOWN_
        return f'a publisher outside ROS (gid {_gid(info.endpoint_gid).hex()})'
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def _describe(profile: QoSProfile) -> str:
    text = f'{profile.reliability.name}, {profile.durability.name}'
    deadline = profile.deadline.nanoseconds
    if 0 < deadline < 2 ** 62:
        text += f', deadline {deadline / 1e9:g} s'
    if profile.liveliness.name.startswith('MANUAL'):
        text += f', liveliness {profile.liveliness.name}'
    return text
