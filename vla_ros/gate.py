# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Whether something may move, decided under one lock with the sending itself."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import threading
import time
from typing import Any


@dataclass(frozen=True)
class Order:
    """
    What the arm is told at one moment; every answer is given to an order.

    :param version: of the instruction: 0 as configured at start, one more at each change.
    :param active: the node is activated.
    :param stopped: an emergency stop is latched.
    :param pressed: the emergency stop was last heard to be pressed.
    :param epoch: one more at each change of any of these; answers to an older epoch are void.
    :param since: monotonic seconds at which the epoch began.
    """

    instruction: str
    version: int = 0
    active: bool = False
    stopped: bool = False
    pressed: bool = False
    epoch: int = 0
    since: float = field(default_factory=time.monotonic)

    @property
    def is_open(self) -> bool:
        """Whether a command may be sent."""
        return self.active and not self.stopped and bool(self.instruction)


class Gate:
    """
    Lets a command out only if nothing has changed since its frame was taken up.

    Checking and sending happen under the same lock as every change. So once a change of the
    instruction, a stop or a deactivation has returned, no command of before can follow; the
    status that acknowledges the change is published after that.
    """

    def __init__(self, instruction: str) -> None:
        """Start inactive, with the instruction that was configured."""
        self._lock = threading.Lock()
        self._order = Order(instruction)

    @property
    def order(self) -> Order:
        """What is to be done at this moment."""
        with self._lock:
            return self._order

    def instruct(self, instruction: str) -> bool:
        """
        Change the instruction; answers to the old one are void.

        :return: whether it was a change. Repeating an instruction restarts nothing: some senders
            repeat theirs many times a second.
        """
        with self._lock:
            if instruction == self._order.instruction:
                return False
            self._renew(instruction=instruction, version=self._order.version + 1)
            return True

    def activate(self) -> None:
        """Let commands out, as far as nothing else stands against it."""
        with self._lock:
            self._renew(active=True)

    def deactivate(self) -> None:
        """Let nothing out."""
        with self._lock:
            self._renew(active=False)

    def stop(self) -> bool:
        """
        Latch an emergency stop.

        :return: whether it was a change.
        """
        with self._lock:
            if self._order.pressed:
                return False
            self._renew(stopped=True, pressed=True)
            return True

    def release(self) -> bool:
        """
        Take note that the emergency stop was released; that alone does not re-arm.

        :return: whether it was a change.
        """
        with self._lock:
            if not self._order.pressed:
                return False
            self._renew(pressed=False)
            return True

    def rearm(self) -> str:
        """
        End a latched stop.

        :return: why that is refused; empty if it was done.
        """
        with self._lock:
            if self._order.pressed:
                return 'the emergency stop is still pressed: it must be released first'
            self._renew(stopped=False)
            return ''

    def send(self, order: Order, publish: Callable[[], None]) -> bool:
        """
        Publish an answer, unless it became void.

        :param order: what the answer was given to.
        :return: whether it was published.
        """
        with self._lock:
            if order.epoch != self._order.epoch or not self._order.is_open:
                return False
            publish()
            return True

    def _renew(self, **changes: Any) -> None:
        self._order = replace(self._order, epoch=self._order.epoch + 1, since=time.monotonic(),
                              **changes)
