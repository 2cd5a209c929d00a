# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The measured rate of events."""

from collections import deque


class RateMeter:
    """The rate of the latest events, in Hz."""

    def __init__(self, window: float = 10.0, events: int = 50) -> None:
        """
        Start without events.

        :param window: seconds after which an event no longer counts.
        :param events: most events that count, so that a change of the rate shows soon.
        """
        self._window = window
        self._times: deque[float] = deque(maxlen=events)

    def tick(self, now: float) -> None:
        """Count an event at this monotonic time, in seconds."""
        self._times.append(now)

    def rate(self, now: float) -> float:
        """Return the events per second, 0 for fewer than two in the window."""
        while self._times and now - self._times[0] > self._window:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        intervals = len(self._times) - 1
        period = (self._times[-1] - self._times[0]) / intervals
        # The time since the last event counts beyond one period: the rate falls when events stop.
        silence = max(0.0, now - self._times[-1] - period)
        return intervals / max(intervals * period + silence, 1e-9)
