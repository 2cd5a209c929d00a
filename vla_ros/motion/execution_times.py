# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""When the arm executed actions: how much of a chunk is past when it arrives."""

from collections import deque

#: Intervals that are remembered; those that follow one another are one.
_MOST = 64
#: Seconds between two intervals that still follow one another.
_TOLERANCE = 1e-6


class ExecutionTimes:
    """
    The intervals in which actions were executed, in order.

    Time in which the arm rested is none of them: it is where the image of that time shows it, so
    nothing of a chunk from that image is past.
    """

    def __init__(self) -> None:
        """Start with nothing executed."""
        self._intervals: deque[tuple[float, float]] = deque(maxlen=_MOST)

    def add(self, began: float, ended: float) -> None:
        """Record that actions were executed from one time to another, s."""
        if ended <= began:
            return
        if self._intervals and began <= self._intervals[-1][1] + _TOLERANCE:
            began = self._intervals.pop()[0]
        self._intervals.append((began, ended))

    def clear(self) -> None:
        """Discard everything: the arm was stopped, or moved by somebody else."""
        self._intervals.clear()

    def seconds(self, since: float, until: float) -> float:
        """Return the seconds between two times in which actions were executed."""
        return sum(max(0.0, min(ended, until) - max(began, since))
                   for began, ended in self._intervals)
