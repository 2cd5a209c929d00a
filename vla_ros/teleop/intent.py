# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a person wants at one moment, whatever the device."""

from dataclasses import dataclass
from typing import Protocol

#: Axes of the tip, in the order of every list of six numbers.
AXES = ('x', 'y', 'z', 'roll', 'pitch', 'yaw')


@dataclass(frozen=True)
class Intent:
    """
    A person's wish.

    :param is_held: whether the deadman is held; without it nothing else counts.
    :param axes: shares of the largest speeds, -1 to 1 each, in the order of :data:`AXES`.
    :param joints: positions of the arm's joints instead, by name, rad or m; empty for none.
    :param opening: of the grippers, 0 (closed) to 1 (open); None for as they are.
    :param resumes: whether the policy is asked to go on, just now.
    """

    is_held: bool = False
    axes: tuple[float, ...] = (0.0,) * 6
    joints: tuple[tuple[str, float], ...] = ()
    opening: float | None = None
    resumes: bool = False


class Device(Protocol):
    """A device of a teleoperator."""

    def read(self, now: float) -> Intent:
        """
        Return what the person wants.

        :param now: monotonic seconds.
        """
