# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The loop that polls the emergency stop and sends the motion, in a thread of its own."""

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import ExitStack
import threading
import time
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription
from rosgraph_msgs.msg import Clock

#: Seconds that a tick may come early: simulated time passes in steps, and its sums are rounded.
_TOLERANCE = 1e-6


class LoopGroup(CallbackGroup):
    """Keeps executors away from the messages that the loop takes; their events they may have."""

    def can_execute(self, entity: Any) -> bool:
        """Allow the execution of everything but subscriptions."""
        return not isinstance(entity, Subscription)

    def beginning_execution(self, entity: Any) -> bool:
        """Allow concurrent execution."""
        return self.can_execute(entity)

    def ending_execution(self, entity: Any) -> None:
        """Do nothing."""


class MotionLoop:
    """
    Waits for the emergency stop and for the next tick, whichever comes first.

    Not in the executor: that one asks a node for all its entities before each wait, hands what is
    ready from thread to thread, and so takes many milliseconds on a busy machine. Here one thread
    waits for its subscriptions, as :func:`rclpy.wait_for_message.wait_for_message` does.

    With ``use_sim_time`` it takes ``/clock``, too, and ticks by it. Left to the executor, the time
    stood still for up to 0.3 s, and images came from the future; rclcpp has a thread for it, too.
    """

    def __init__(self, node: Node, stop: Sequence[Subscription], poll: Callable[[], None],
                 tick: Callable[[], None], period: float, due: Callable[[], float]) -> None:
        """
        Prepare; :meth:`run` is the thread.

        :param stop: subscriptions of emergency stop and deadman, in a :class:`LoopGroup`.
        :param poll: takes their messages.
        :param tick: sends what is due.
        :param period: seconds between two ticks.
        :param due: gives the monotonic seconds at which a tick is needed before its time;
            infinity by simulated time.
        """
        self._node = node
        self._poll = poll
        self._tick = tick
        self._period = period
        self._due = due
        #: That of the node's own time source, if its time is simulated.
        self._clock = next((one for one in node.subscriptions if one.msg_type is Clock), None)
        self._subscriptions = list(stop)
        if self._clock is not None:
            self._clock.callback_group = LoopGroup()
            self._subscriptions.append(self._clock)
        self._begun = threading.Event()
        self._ending = threading.Event()
        self._wake = GuardCondition(None, None, node.context)

    def begin(self) -> None:
        """Tick from now on."""
        self._begun.set()
        self._wake.trigger()

    def end(self) -> None:
        """Make :meth:`run` return; at once, unless it is sending."""
        self._ending.set()
        self._wake.trigger()

    def run(self) -> None:
        """Poll and tick until the end; to be left before the node is destroyed."""
        wait_set = _rclpy.WaitSet(len(self._subscriptions), 1, 0, 0, 0, 0,
                                  self._node.context.handle)
        with ExitStack() as used:
            for entity in (*self._subscriptions, self._wake):
                used.enter_context(entity.handle)
            following = 0.0
            while not self._ending.is_set():
                self._wait(wait_set, following)
                self._poll()
                now = self._now()
                if now < following - self._period:  # simulated time was set back
                    following = now
                if not self._begun.is_set() or now < min(following - _TOLERANCE, self._due()):
                    continue
                self._tick()
                if now >= following - _TOLERANCE:
                    # From one to the next without drift; what is missed is not made up for.
                    following = max(following, now - self._period) + self._period
        self._wake.destroy()

    def _wait(self, wait_set: Any, following: float) -> None:
        wait_set.clear_entities()
        for subscription in self._subscriptions:
            wait_set.add_subscription(subscription.handle)
        wait_set.add_guard_condition(self._wake.handle)
        pause = -1
        if self._begun.is_set() and self._clock is None:
            seconds = min(following, self._due()) - time.monotonic()
            pause = max(0, int(1e9 * min(seconds, 3600.0)))
        wait_set.wait(pause)

    def _now(self) -> float:
        """Return the seconds by which the arm moves: steady, or simulated."""
        if self._clock is None:
            return time.monotonic()
        taken = self._clock.handle.take_message(Clock, False)
        if taken is not None:
            self._clock.callback(taken[0])
        return self._node.get_clock().now().nanoseconds / 1e9
