# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Hands the messages of one subscription over as they come."""

from collections.abc import Callable
import logging
import threading
from typing import Any

from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

_logger = logging.getLogger(__name__)

#: Messages in a row that cannot be read, after which the fault is not with them.
_FAILURES = 100


class MessageReceiver:
    """
    One thread that waits for one subscription.

    An executor asks a node for all its entities before each wait and again after each callback,
    all of it in Python, just when the thread that processes the message wants to run.
    """

    def __init__(self, node: Node, subscription: Subscription,
                 take: Callable[[Any], None], ended: Callable[[BaseException], None]) -> None:
        """
        Start.

        :param subscription: in a :class:`vla_ros.ros.motion_loop.LoopGroup`.
        :param take: called with each message; must not wait.
        :param ended: called, in the thread, with what has ended it before :meth:`stop`.
        """
        self._context = node.context
        self._subscription = subscription
        self._take = take
        self._ended = ended
        self._ending = threading.Event()
        self._wake = GuardCondition(None, None, node.context)
        self._thread = threading.Thread(target=self._run, name='vla_camera', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop receiving, after the message in progress; to be called before the node ends."""
        self._ending.set()
        self._wake.trigger()
        self._thread.join()
        self._wake.destroy()

    def _run(self) -> None:
        try:
            self._receive()
        except BaseException as error:  # whatever it is: nothing else would report it
            if not self._ending.is_set():
                self._ended(error)

    def _receive(self) -> None:
        failures = 0
        wait_set = _rclpy.WaitSet(1, 1, 0, 0, 0, 0, self._context.handle)
        subscription = self._subscription
        with subscription.handle, self._wake.handle:
            while not self._ending.is_set():
                wait_set.clear_entities()
                wait_set.add_subscription(subscription.handle)
                wait_set.add_guard_condition(self._wake.handle)
                wait_set.wait(-1)
                try:
                    taken = subscription.handle.take_message(subscription.msg_type,
                                                             subscription.raw)
                    failures = 0
                except Exception as error:  # a message that is damaged, or of a foreign sender
                    failures += 1
                    if failures >= _FAILURES:
                        raise
                    _logger.error('a message cannot be read, the next one is tried: %s', error)
                    continue
                if taken is not None and not self._ending.is_set():
                    self._hand_over(taken[0])

    def _hand_over(self, message: Any) -> None:
        try:
            self._take(message)
        except Exception:
            _logger.exception('a message could not be taken; the next one is tried')
