# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""How fast simulated time passes: by a clock, and not ahead of whoever answers the camera."""

import math

#: How much faster than the clock on the wall simulated time may be asked to pass.
FASTEST = 20.0
#: Steps that are made up for at once after a pause; what is more is left out.
_MOST_STEPS = 10
#: Seconds on the wall that simulated time waits for an answer: less than joint states may pause.
_PATIENCE = 0.4


class Pace:
    """
    Says how many steps are due.

    Without ``answer_within`` simulated time follows the clock on the wall, ``speed`` times as
    fast. With it, it also waits, so that it never gets further than that ahead of the newest
    image that was answered: however slow or busy the machine is, and however much faster than
    real time it runs, an answer is at most so old, in simulated time. Where nobody answers, for
    ``_PATIENCE``, time passes without waiting, no faster than real time.
    """

    def __init__(self, step: float, speed: float, answer_within: float) -> None:
        """
        Start at the first call of :meth:`due`.

        :param step: simulated seconds of a step.
        :param answer_within: simulated seconds; 0 for no waiting.
        """
        self._step = step
        self._speed = speed
        self._answer_within = answer_within
        self._answered = -math.inf
        self._last = math.nan
        self._owed = 0.0
        self._waiting_since = math.nan
        self._is_alone = True

    def answer(self, taken: float) -> None:
        """Note that the image of a simulated time was answered, or that one may be waited for."""
        if taken > self._answered:
            self._answered = taken
            self._is_alone = False
            self._waiting_since = math.nan

    def due(self, now: float, elapsed: float) -> int:
        """
        Give the number of steps to make now.

        :param now: steady seconds.
        :param elapsed: simulated seconds so far.
        """
        passed = 0.0 if math.isnan(self._last) else now - self._last
        self._last = now
        speed = min(1.0, self._speed) if self._waits and self._is_alone else self._speed
        self._owed = min(self._owed + passed * speed / self._step, _MOST_STEPS)
        steps = int(self._owed)
        if self._waits and not self._is_alone:
            room = int((self._answered + self._answer_within - elapsed) / self._step + 1e-6)
            if room <= 0:
                self._wait(now)
            steps = max(0, min(steps, room))
        self._owed -= steps
        return steps

    @property
    def _waits(self) -> bool:
        return self._answer_within > 0.0

    def _wait(self, now: float) -> None:
        if math.isnan(self._waiting_since):
            self._waiting_since = now
        self._is_alone = now - self._waiting_since > _PATIENCE
