# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Signals that are noted, for a loop that ends of itself, and waiting that signals end."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from queue import SimpleQueue
import signal
from typing import Any
from typing import TypeVar

Item = TypeVar('Item')
#: Seconds after which a wait looks whether a signal has come.
_TURN = 0.1


@contextmanager
def signals_collected() -> Iterator[list[int]]:
    """
    Collect the signals that ask the process to end; for the main thread.

    An exception raised by a handler can come up inside rclpy's C++ code, which turns it into
    another one, or in the midst of cleaning up: a launch and its terminal both ask.
    """
    noted: list[int] = []
    with _handled(lambda number, _: noted.append(number)):
        yield noted


@contextmanager
def signals_queued(queue: 'SimpleQueue[Any]') -> Iterator[None]:
    """Put None into a queue for each signal that :func:`signals_collected` would collect."""
    # Its put is made to be called from handlers.
    with _handled(lambda *_: queue.put(None)):
        yield


@contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, previous in zip(numbers, before):
            signal.signal(number, previous)


def wait_for_item(queue: 'SimpleQueue[Item]') -> Item:
    """
    Wait for what a signal's handler or a thread puts into a queue; for the main thread.

    A handler runs only when the main thread runs Python, and a signal that another thread of the
    process receives does not always end the main thread's wait: 3 of 32 nodes under load never
    heard a SIGINT.
    """
    while True:
        try:
            return queue.get(timeout=_TURN)
        except Empty:
            pass
