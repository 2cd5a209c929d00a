# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Whether answers come as fast as they are used up."""

from collections import deque
from dataclasses import dataclass
import math

#: How many intervals between answers are looked back at.
_INTERVALS = 20
#: Share of the way that may be lost before it is worth a word.
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Pace:
    """
    How the time between answers compares with what an answer is worth.

    :param coverage: share of the time for which there was something to do, 0 to 1; NaN before the
        second answer. Deltas move the arm that share of the way.
    :param interval: mean seconds from one answer to the next.
    :param worth: mean seconds for which an answer lasts, repetitions included.
    :param repeat: seconds that ``action.repeat`` would have to be.
    """

    coverage: float = math.nan
    interval: float = math.nan
    worth: float = math.nan
    repeat: float = math.nan

    @property
    def advice(self) -> str:
        """What to do about it; empty if nothing."""
        if not self.coverage < 1.0 - _TOLERANCE:
            return ''
        return (f'the arm moves {self.coverage:.0%} of the way: an answer is worth '
                f'{self.worth:.2g} s, and the next one comes after {self.interval:.2g} s; set '
                f'action.repeat to at least {self.repeat:g}, or use a faster policy')


class PaceMeter:
    """Measures the pace, from one answer to the next."""

    def __init__(self, duration: float, repeat: float) -> None:
        """
        Start with nothing measured.

        :param duration: seconds that one action is given.
        :param repeat: seconds that the last one is repeated for.
        """
        self._duration = duration
        self._repeat = repeat
        self._pairs: deque[tuple[float, float]] = deque(maxlen=_INTERVALS)
        #: What was measured; replaced as a whole, so that any thread may look.
        self.pace = Pace()

    def note(self, interval: float, worth: float) -> None:
        """
        Note that an answer was replaced by the next one.

        :param interval: seconds after it had come.
        :param worth: seconds for which it lasts.
        """
        if interval <= 0.0:
            return
        self._pairs.append((interval, worth))
        count = len(self._pairs)
        total = sum(interval for interval, _ in self._pairs)
        covered = sum(min(pair) for pair in self._pairs)
        worth = sum(worth for _, worth in self._pairs) / count
        missing = max(0.0, total / count - worth)
        # In whole actions, which is what is repeated.
        needed = self._duration * math.ceil(missing / self._duration - 1e-6)
        self.pace = Pace(covered / total, total / count, worth, round(self._repeat + needed, 4))
