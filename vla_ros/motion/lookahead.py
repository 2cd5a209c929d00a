# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The next piece of a motion, for controllers that take trajectories; it always ends at rest."""

from dataclasses import dataclass
import math

import numpy as np

from vla_ros.motion.trajectory import BoundedTrajectory

#: Seconds between two waypoints at most. With positions, velocities and accelerations given, a
#: quintic between them is off the plan by less than a hundredth of a millimetre or milliradian.
_SPACING = 0.02


@dataclass(frozen=True)
class Lookahead:
    """
    The joints' motion from now on until they rest, unless a newer one replaces it.

    :param times: float64 (K,), seconds from now, increasing; the first is 0.
    :param positions: float64 (K, N), rad and m.
    :param velocities: float64 (K, N); zero in the last row.
    :param accelerations: float64 (K, N); zero in the last row.
    """

    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray


def look_ahead(trajectory: BoundedTrajectory, now: float, seconds: float
               ) -> tuple[Lookahead, BoundedTrajectory]:
    """
    Return the plan's next seconds, followed by braking to rest; and the motion that it describes.

    :param seconds: for which the plan is followed; then the joints brake as hard as their limits
        allow, so a controller that receives nothing more rests soon, and within the limits.
    """
    braking = trajectory.braked(now + seconds)
    times = np.zeros(1)
    if trajectory.is_moving(now):
        times = _grid(0.0, seconds)
        rest = braking.end - now
        if rest > seconds:
            times = np.concatenate([times, _grid(seconds, rest)[1:]])
    else:
        times = np.array([0.0, seconds])
    states = [(trajectory if time <= seconds else braking).state(now + time)
              for time in times.tolist()]
    positions, velocities, accelerations = (np.array(rows) for rows in zip(*states))
    # Exactly zero, not nearly: controllers refuse a trajectory that does not end at rest.
    positions[-1], velocities[-1], accelerations[-1] = braking.destination, 0.0, 0.0
    return Lookahead(times, positions, velocities, accelerations), braking


def _grid(start: float, end: float) -> np.ndarray:
    """Return times from start to end, no further apart than allowed, float64 (K,)."""
    return np.linspace(start, end, math.ceil((end - start) / _SPACING - 1e-9) + 1)
