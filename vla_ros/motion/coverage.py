# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Whether results come as fast as their actions are executed."""

from collections import deque
from dataclasses import dataclass
import math

from vla_ros.motion.timing import LONGEST_REPEAT

#: How many intervals between results are averaged.
_INTERVALS = 20
#: Share of the way that may be lost without advice.
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Coverage:
    """
    How the time between results compares with the duration of their actions.

    :param coverage: share of the time that actions covered, 0 to 1; NaN before the second result.
        Deltas move the arm that share of the way.
    :param interval: mean seconds from one result to the next.
    :param duration: mean seconds that the actions of a result last, repetitions included.
    :param repeat: seconds that ``action.repeat`` would have to be.
    """

    coverage: float = math.nan
    interval: float = math.nan
    duration: float = math.nan
    repeat: float = math.nan

    @property
    def advice(self) -> str:
        """What the user can do about low coverage; empty if nothing is needed."""
        if not self.coverage < 1.0 - _TOLERANCE:
            return ''
        remedy = (f'set action.repeat to at least {self.repeat:g}, or '
                  if self.repeat <= LONGEST_REPEAT else '')
        return (f'the arm moves {self.coverage:.0%} of the way: the actions of a result last '
                f'{self.duration:.2g} s, and the next one comes after {self.interval:.2g} s; '
                f'{remedy}use a faster policy')


class CoverageMeter:
    """Measures the coverage, from one result to the next."""

    def __init__(self, duration: float, repeat: float) -> None:
        """
        Start with nothing measured.

        :param duration: seconds that one action is given.
        :param repeat: seconds that the last one is repeated for.
        """
        self._duration = duration
        self._repeat = repeat
        self._pairs: deque[tuple[float, float]] = deque(maxlen=_INTERVALS)
        #: The newest figures; replaced as a whole, so that any thread may read them.
        self.coverage = Coverage()

    def note(self, interval: float, duration: float) -> None:
        """
        Record that a result was replaced by the next one.

        :param interval: seconds from the one to the other.
        :param duration: seconds that its actions last.
        """
        if interval <= 0.0:
            return
        self._pairs.append((interval, duration))
        count = len(self._pairs)
        total = sum(interval for interval, _ in self._pairs)
        covered = sum(min(pair) for pair in self._pairs)
        mean = sum(duration for _, duration in self._pairs) / count
        missing = max(0.0, total / count - mean)
        # In whole actions, which is what is repeated.
        needed = self._duration * math.ceil(missing / self._duration - 1e-6)
        self.coverage = Coverage(covered / total, total / count, mean,
                                 round(self._repeat + needed, 4))
