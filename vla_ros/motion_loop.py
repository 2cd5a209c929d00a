# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The loop that hears the emergency stop and sends the motion, in a thread of its own."""

from collections.abc import Callable
import threading
import time
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription


class LoopGroup(CallbackGroup):
    """Keeps executors away from the messages that the loop takes; their events they may have."""

    def can_execute(self, entity: Any) -> bool:
        """Let everything be executed but subscriptions."""
        return not isinstance(entity, Subscription)

    def beginning_execution(self, entity: Any) -> bool:
        """Let it begin; several may at a time."""
        return self.can_execute(entity)

    def ending_execution(self, entity: Any) -> None:
        """Note nothing."""


class MotionLoop:
    """
    Waits for the button and for the next tick, whichever comes first.

    Not in the executor: that one asks a node for all its entities before each wait, hands what is
    ready from thread to thread, and so takes many milliseconds on a busy machine. Here one thread
    waits for one subscription, as :func:`rclpy.wait_for_message.wait_for_message` does.
    """

    def __init__(self, node: Node, button: Subscription, hear: Callable[[], None],
                 tick: Callable[[], None], period: float, due: Callable[[], float]) -> None:
        """
        Prepare; :meth:`run` is the thread.

        :param button: in a :class:`LoopGroup`.
        :param hear: takes its message.
        :param tick: sends what is due.
        :param period: seconds between two ticks; infinity if someone else ticks.
        :param due: gives the monotonic seconds at which a tick is needed before its time.
        """
        self._node = node
        self._button = button
        self._hear = hear
        self._tick = tick
        self._period = period
        self._due = due
        self._begun = threading.Event()
        self._ending = threading.Event()
        self._wake = GuardCondition(None, None, node.context)

    def begin(self) -> None:
        """Tick from now on."""
        self._begun.set()
        self._wake.trigger()

    def end(self) -> None:
        """Have :meth:`run` return; at once, unless it is sending."""
        self._ending.set()
        self._wake.trigger()

    def run(self) -> None:
        """Hear and tick until the end; to be left before the node is destroyed."""
        wait_set = _rclpy.WaitSet(1, 1, 0, 0, 0, 0, self._node.context.handle)
        with self._button.handle, self._wake.handle:
            following = 0.0
            while not self._ending.is_set():
                self._wait(wait_set, following)
                self._hear()
                now = time.monotonic()
                if not self._begun.is_set() or now < min(following, self._due()):
                    continue
                self._tick()
                if now >= following:
                    # From one to the next without drift; what is missed is not made up for.
                    following = max(following, now - self._period) + self._period
        self._wake.destroy()

    def _wait(self, wait_set: Any, following: float) -> None:
        wait_set.clear_entities()
        wait_set.add_subscription(self._button.handle)
        wait_set.add_guard_condition(self._wake.handle)
        pause = -1
        if self._begun.is_set():
            seconds = min(following, self._due()) - time.monotonic()
            pause = max(0, int(1e9 * min(seconds, 3600.0)))
        wait_set.wait(pause)
