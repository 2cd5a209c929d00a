# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""How fast simulated time passes: by a real-time factor, and not far ahead of the results."""

import math

#: Largest real-time factor.
FASTEST = 20.0
#: Most steps at a time after a pause; further ones are left out.
_MOST_STEPS = 10
#: Seconds of wall time for which simulated time waits for a result: less than the timeout of
#: joint states.
_RESULT_TIMEOUT = 0.4


class RealTimeFactor:
    """
    Gives the number of simulation steps that are due.

    Without ``result_within`` simulated time follows wall time by the factor ``speed``. With it,
    simulated time also waits for results: it never runs further than ``result_within`` ahead of
    the newest image with a result. This bounds the age of a result in simulated time on a slow or
    busy machine. After ``_RESULT_TIMEOUT`` without a result, time passes without waiting, at most
    in real time.
    """

    def __init__(self, step: float, speed: float, result_within: float) -> None:
        """
        Start at the first call of :meth:`due`.

        :param step: simulated seconds of a step.
        :param speed: real-time factor.
        :param result_within: simulated seconds; 0 for no waiting.
        """
        self._step = step
        self._speed = speed
        self._result_within = result_within
        self._newest_result = -math.inf
        self._last = math.nan
        self._due_steps = 0.0
        self._waiting_since = math.nan
        self._has_no_results = True

    def result(self, taken: float) -> None:
        """Record a result for the image of a simulated time; later times wait for further ones."""
        if taken > self._newest_result:
            self._newest_result = taken
            self._has_no_results = False
            self._waiting_since = math.nan

    def due(self, now: float, elapsed: float) -> int:
        """
        Return the number of steps to make now.

        :param now: monotonic seconds.
        :param elapsed: simulated seconds so far.
        """
        passed = 0.0 if math.isnan(self._last) else now - self._last
        self._last = now
        speed = min(1.0, self._speed) if self._waits and self._has_no_results else self._speed
        self._due_steps = min(self._due_steps + passed * speed / self._step, _MOST_STEPS)
        steps = int(self._due_steps)
        if self._waits and not self._has_no_results:
            room = int((self._newest_result + self._result_within - elapsed) / self._step + 1e-6)
            if room <= 0:
                self._wait(now)
            steps = max(0, min(steps, room))
        self._due_steps -= steps
        return steps

    @property
    def _waits(self) -> bool:
        return self._result_within > 0.0

    def _wait(self, now: float) -> None:
        if math.isnan(self._waiting_since):
            self._waiting_since = now
        self._has_no_results = now - self._waiting_since > _RESULT_TIMEOUT
