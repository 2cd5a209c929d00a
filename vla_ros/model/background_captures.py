# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Captures that a background thread makes, so that no frame waits for one."""

from collections.abc import Callable
import logging
import threading
from typing import Generic
from typing import TypeVar

_logger = logging.getLogger(__name__)

T = TypeVar('T')


class BackgroundCaptures(Generic[T]):
    """
    What was captured, by a length.

    A capture that fails logs its error and is not tried again: not every library's kernels can be
    captured, and what served so far keeps serving.
    """

    def __init__(self, capture: Callable[[int], T], described: str,
                 most: int | None = None) -> None:
        """
        Start with nothing captured.

        :param capture: captures a length; called from any thread.
        :param described: what is captured, for the log, with ``%d`` for the length.
        :param most: how many are kept, the newest ones; None for all.
        """
        self._capture = capture
        self._described = described
        self._most = most
        self._captured: dict[int, T] = {}
        self._attempted: dict[int, None] = {}
        self._lock = threading.Lock()

    def get(self, length: int) -> T | None:
        """Return what was captured of a length, None if nothing was."""
        return self._captured.get(length)

    def lengths(self) -> list[int]:
        """Return the lengths of what was captured, a copy: a thread may add to them any time."""
        return list(self._captured)

    def add(self, length: int) -> T:
        """
        Capture a length now.

        :raises Exception: it cannot be captured.
        """
        captured = self._capture(length)
        self._captured[length] = captured
        return captured

    def prepare(self, length: int) -> None:
        """Capture a length now; a failure is only logged."""
        with self._lock:
            self._attempted[length] = None
            while self._most is not None and len(self._attempted) > self._most:
                oldest = next(iter(self._attempted))
                del self._attempted[oldest]
                self._captured.pop(oldest, None)
        try:
            self.add(length)
        except Exception:
            _logger.exception(f'{self._described} cannot be captured', length)
        else:
            _logger.info(f'{self._described} are captured', length)

    def start(self, length: int) -> None:
        """Capture a length in the background, unless that was tried before."""
        with self._lock:
            if length in self._attempted:
                return
            self._attempted[length] = None
        threading.Thread(target=self.prepare, args=(length,), name='vla_graphs',
                         daemon=True).start()
