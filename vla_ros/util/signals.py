# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Signals that are noted, for a loop that ends of itself."""

from collections.abc import Iterator
from contextlib import contextmanager
import signal


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """
    Collect the signals that ask the process to end; for the main thread.

    An exception raised by a handler can come up inside rclpy's C++ code, which turns it into
    another one, or in the midst of cleaning up: a launch and its terminal both ask.
    """
    noted: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: noted.append(number)) for number in numbers]
    try:
        yield noted
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
