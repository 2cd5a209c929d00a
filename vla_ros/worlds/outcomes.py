# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Success rates of episodes with their confidence intervals."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
import math
from typing import Any

from vla_ros.worlds.tasks import COLORS
from vla_ros.worlds.tasks import KINDS
from vla_ros.worlds.tasks import Task


@dataclass(frozen=True)
class Episode:
    """
    How one episode went.

    :param decided: colour of the first block that the task was done with, empty for none.
    :param seconds: simulated seconds until the decision or the time limit.
    """

    seed: int
    task: Task
    decided: str
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether the task was done with the named block."""
        return self.decided == self.task.color


def wilson_interval(successes: int, episodes: int, z: float = 1.96) -> tuple[float, float]:
    """
    Return the interval in which the true rate lies, by default with 95 % confidence.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    if not episodes:
        return 0.0, 1.0
    rate = successes / episodes
    middle = rate + z * z / (2 * episodes)
    spread = z * math.sqrt(rate * (1 - rate) / episodes + z * z / (4 * episodes**2))
    scale = 1 + z * z / episodes
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def score(episodes: Iterable[Episode]) -> dict[str, Any]:
    """
    Sum up by task and by colour; ``wrong`` counts the failures on another block.

    ``confusion`` counts for each instructed colour the colours of the blocks that were moved.
    """
    episodes = sorted(episodes, key=lambda episode: episode.seed)
    return {
        'rows': [_row(kind, [e for e in episodes if e.task.kind == kind])
                 for kind in KINDS if any(e.task.kind == kind for e in episodes)],
        'colors': [_row(color, [e for e in episodes if e.task.color == color])
                   for color in COLORS if any(e.task.color == color for e in episodes)],
        'confusion': {color: _outcomes([e for e in episodes if e.task.color == color])
                      for color in COLORS if any(e.task.color == color for e in episodes)},
        'all': _row('all', episodes),
        'episodes': [{'seed': e.seed, 'instruction': e.task.instruction, 'decided': e.decided,
                      'success': e.succeeded, 'seconds': round(e.seconds, 2)} for e in episodes],
    }


def _outcomes(episodes: list[Episode]) -> dict[str, int]:
    counts = Counter(episode.decided or 'none' for episode in episodes)
    return {color: counts[color] for color in (*COLORS, 'none')}


def _row(name: str, episodes: list[Episode]) -> dict[str, Any]:
    successes = sum(e.succeeded for e in episodes)
    low, high = wilson_interval(successes, len(episodes))
    return {'task': name, 'episodes': len(episodes), 'successes': successes,
            'wrong': sum(e.decided not in ('', e.task.color) for e in episodes),
            'interval': [round(low, 4), round(high, 4)]}
