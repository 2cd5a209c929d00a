# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Single keys from the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
import sys
import termios
import tty


@contextmanager
def single_keys() -> Iterator[None]:
    """Make stdin return keys as they are pressed, where it is a terminal; then restore it."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
