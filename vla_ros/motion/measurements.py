# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The newest measured positions of the joints."""

from collections.abc import Sequence
import math
import threading

import numpy as np


class Measurements:
    """
    The newest positions of known joints; others are ignored, so that no sender can fill memory.

    Arm and gripper may come in different messages, in any order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Start with nothing known."""
        self._lock = threading.Lock()
        self._names = frozenset(names)
        self._positions: dict[str, float] = {}
        self._times: dict[str, float] = {}

    def take(self, names: Sequence[str], positions: Sequence[float], now: float) -> None:
        """
        Accept positions, rad or m.

        :param now: monotonic seconds.
        """
        with self._lock:
            for name, position in zip(names, positions):
                if name in self._names and math.isfinite(position):
                    self._positions[name] = float(position)
                    self._times[name] = now

    @property
    def positions(self) -> dict[str, float]:
        """The positions by name."""
        with self._lock:
            return dict(self._positions)

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return the joints that were never measured."""
        with self._lock:
            return [name for name in names if name not in self._positions]

    def vector(self, names: Sequence[str]) -> np.ndarray:
        """Return positions in the order of names, float64 (N,), NaN where unknown."""
        with self._lock:
            return np.array([self._positions.get(name, math.nan) for name in names])

    def age(self, names: Sequence[str], now: float) -> float:
        """Return the age of the oldest of these joints' measurements, in seconds."""
        with self._lock:
            return max((now - self._times.get(name, -math.inf) for name in names), default=0.0)
