# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The paired comparison of two checkpoints that ran the same episodes."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

from vla_ros.worlds.outcomes import wilson_interval

#: What identifies an episode, and the task that it counts for.
Key = tuple[str, int]


@dataclass(frozen=True)
class ContingencyTable:
    """
    Counts of paired episodes: how often both, one or none of two checkpoints succeeded.

    :param only_first: the first one succeeded, and the second one failed on the same episode.
    """

    both: int = 0
    only_first: int = 0
    only_second: int = 0
    neither: int = 0

    @classmethod
    def count(cls, outcomes: Iterable[tuple[bool, bool]]) -> 'ContingencyTable':
        """Count pairs of successes: of the first checkpoint, of the second one."""
        found = list(outcomes)
        return cls(*(found.count(pair) for pair in (
            (True, True), (True, False), (False, True), (False, False))))

    @property
    def episodes(self) -> int:
        """Number of pairs."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Success rate of the first checkpoint minus that of the second one."""
        return (self.only_first - self.only_second) / self.episodes


def paired_interval(cells: ContingencyTable, z: float = 1.96) -> tuple[float, float]:
    """
    Return the interval of the difference of two success rates, by default with 95 % confidence.

    R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17 (1998), 2635-2650, method 10: Wilson's
    intervals of both rates, combined by their correlation.

    :param cells: of at least one episode.
    """
    count = cells.episodes
    first, second = cells.both + cells.only_first, cells.both + cells.only_second
    low_1, high_1 = wilson_interval(first, count, z)
    low_2, high_2 = wilson_interval(second, count, z)
    rate_1, rate_2 = first / count, second / count
    phi = _correlation(cells)

    def combine(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))
    return (cells.difference - combine(rate_1 - low_1, high_2 - rate_2),
            cells.difference + combine(high_1 - rate_1, rate_2 - low_2))


def _correlation(cells: ContingencyTable) -> float:
    """Return phi of the four cells; a positive one with Newcombe's correction for continuity."""
    count = cells.episodes
    first, second = cells.both + cells.only_first, cells.both + cells.only_second
    scale = math.sqrt(first * (count - first) * second * (count - second))
    if not scale:
        return 0.0
    agreement = cells.both * cells.neither - cells.only_first * cells.only_second
    return (max(agreement - count / 2, 0.0) if agreement > 0 else agreement) / scale


def mcnemar_p(cells: ContingencyTable) -> float:
    """
    Return the two-sided p-value of "both are equally good": the exact test of McNemar.

    Under that hypothesis each episode on which they differ is won by either with probability 1/2.
    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947), in its exact, binomial form.
    """
    differing = cells.only_first + cells.only_second
    fewer = min(cells.only_first, cells.only_second)
    tail = sum(math.comb(differing, wins) for wins in range(fewer + 1))
    return min(1.0, 2 * tail / 2**differing)


def compare(first: Mapping[Key, bool], second: Mapping[Key, bool]) -> dict[str, Any]:
    """
    Compare by task and in all; see :func:`compare_rows`.

    :param first: whether the first checkpoint succeeded, by task and number of the episode.
    :param second: likewise; of the same episodes.
    :raises ValueError: the episodes are not the same.
    """
    if first.keys() != second.keys():
        raise ValueError('the episodes of the two checkpoints are not the same')
    tasks = list(dict.fromkeys(task for task, _ in first))
    rows = [_row(task, [(first[key], second[key]) for key in first if key[0] == task])
            for task in tasks]
    return {'rows': rows, 'all': _row('all', [(first[key], second[key]) for key in first])}


def compare_rows(result: Mapping[str, Any]) -> list[str]:
    """Format the result of :func:`compare` as lines for a terminal."""
    lines = ['difference of the success rates, --checkpoint minus --against, on the same '
             'episodes:']
    for row in (*result['rows'], result['all']):
        low, high = (100 * bound for bound in row['interval'])
        lines.append(
            f'{row["task"]:<22} {100 * row["difference"]:+6.1f} points (95 %: {low:+.1f} to '
            f'{high:+.1f}), p {row["p"]:.2g}; both {row["both"]}, only --checkpoint '
            f'{row["only_first"]}, only --against {row["only_second"]}, neither '
            f'{row["neither"]}')
    return lines


def _row(task: str, outcomes: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    cells = ContingencyTable.count(outcomes)
    low, high = paired_interval(cells)
    return {'task': task, 'episodes': cells.episodes, 'difference': round(cells.difference, 4),
            'interval': [round(low, 4), round(high, 4)], 'p': mcnemar_p(cells), **vars(cells)}
