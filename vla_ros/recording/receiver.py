# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One thread that takes the serialised messages of many subscriptions."""

from collections.abc import Callable
from contextlib import ExitStack
import logging
import threading
from typing import Any

from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

_logger = logging.getLogger(__name__)

#: Messages of one topic that are taken before the next topic has its turn.
_TURN = 10

#: Called with topic, CDR and the middleware's information about the message.
Take = Callable[[str, bytes, dict[str, Any]], None]


class BagReceiver:
    """
    Waits for all subscriptions at once.

    An executor asks a node for all its entities before each wait, in Python; at the rate of two
    cameras and an arm that alone takes much of a core.
    """

    def __init__(self, node: Node, take: Take) -> None:
        """
        Start with no subscription.

        :param take: called with each message, in this thread; must not wait.
        """
        self._context = node.context
        self._take = take
        self._lock = threading.Lock()
        self._subscriptions: dict[str, Subscription] = {}
        self._ending = False
        self._wake = GuardCondition(None, None, node.context)
        self._thread = threading.Thread(target=self._run, name='vla_bag_receiver', daemon=True)
        self._thread.start()

    def replace(self, topic: str, subscription: Subscription) -> None:
        """Receive messages of a topic from this subscription from now on, in a LoopGroup."""
        with self._lock:
            self._subscriptions[topic] = subscription
        self._wake.trigger()

    def stop(self) -> None:
        """Stop receiving; to be called before the node ends."""
        self._ending = True
        self._wake.trigger()
        self._thread.join()
        self._wake.destroy()

    def _run(self) -> None:
        while not self._ending:
            with self._lock:
                subscriptions = dict(self._subscriptions)
            with ExitStack() as held:
                for subscription in subscriptions.values():
                    held.enter_context(subscription.handle)
                held.enter_context(self._wake.handle)
                self._wait(subscriptions)

    def _wait(self, subscriptions: dict[str, Subscription]) -> None:
        """Receive messages until the subscriptions change."""
        wait_set = _rclpy.WaitSet(len(subscriptions), 1, 0, 0, 0, 0, self._context.handle)
        pointers = {topic: one.handle.pointer for topic, one in subscriptions.items()}
        while not self._ending:
            wait_set.clear_entities()
            for subscription in subscriptions.values():
                wait_set.add_subscription(subscription.handle)
            wait_set.add_guard_condition(self._wake.handle)
            wait_set.wait(-1)
            ready = set(wait_set.get_ready_entities('subscription'))
            for topic, subscription in subscriptions.items():
                if pointers[topic] in ready:
                    self._drain(topic, subscription)
            if wait_set.get_ready_entities('guard_condition'):
                return

    def _drain(self, topic: str, subscription: Subscription) -> None:
        for _ in range(_TURN):
            try:
                taken = subscription.handle.take_message(subscription.msg_type, True)
                if taken is None:
                    return
                self._take(topic, taken[0], taken[1])
            except Exception:
                _logger.exception('a message on %s could not be recorded', topic)
                return
