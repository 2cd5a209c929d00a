# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""How a chunk goes on from the chunk before: what is past of it, and how both are blended."""

import numpy as np

#: Share of an action that is not worth a motion of its own.
_SHORTEST = 0.1


def split_past(executed: float, duration: float, count: int) -> tuple[int, float]:
    """
    Split a chunk at the present.

    The last action is never past: an arm that is late still goes where the chunk ends.

    :param executed: seconds since the observation in which actions were executed.
    :param duration: seconds of an action.
    :param count: actions of the chunk, at least 1.
    :returns: number of actions that are past, and seconds of the next one that are past.
    """
    past = int(executed / duration + 1e-6)
    begun = max(0.0, executed - past * duration)
    if begun > (1.0 - _SHORTEST) * duration:
        past, begun = past + 1, 0.0
    return (past, begun) if past < count else (count - 1, 0.0)


def blend(actions: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """
    Blend the rest of the chunk before into a chunk, in shares that fall from action to action.

    :param actions: float64 (T, D).
    :param rest: float64 (K, D), of the same times.
    """
    rest = rest[:len(actions)]
    shares = np.arange(1, len(rest) + 1)[:, None] / (len(rest) + 1)
    return np.concatenate([shares * actions[:len(rest)] + (1.0 - shares) * rest,
                           actions[len(rest):]])


def shift(rows: np.ndarray, offset: float) -> np.ndarray:
    """
    Return actions for times between those of a chunk, by linear interpolation.

    For targets that is where the chunk leads by then, for deltas its mean speed until then.

    :param rows: float64 (K + 1, D); the first one was executed before.
    :param offset: in actions, above -1 and below 1.
    :returns: float64 (K, D): as the rows from the second on where the offset is 0.
    """
    places = np.clip(np.arange(1, len(rows)) + offset, 0.0, len(rows) - 1.0)
    lower = np.minimum(places.astype(int), len(rows) - 2)
    share = (places - lower)[:, None]
    return (1.0 - share) * rows[lower] + share * rows[lower + 1]
