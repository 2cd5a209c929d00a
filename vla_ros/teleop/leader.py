# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A leader arm, a small copy that a person moves by hand: its joint states, and a deadman."""

from collections.abc import Sequence
from dataclasses import replace
import math
import threading

from vla_ros.errors import ParameterError
from vla_ros.robot.description import Robot
from vla_ros.teleop.intent import Device
from vla_ros.teleop.intent import Intent


class Leader:
    """
    Maps a leader's joints to the robot's.

    A template for a device of your own: whatever gives positions can take its place.
    """

    def __init__(self, robot: Robot, names: Sequence[str], signs: Sequence[float],
                 offsets: Sequence[float], timeout: float, deadman: Device) -> None:
        """
        Start with nothing received.

        :param names: of the leader's joints, one for each of the robot's arm, then of its
            grippers as far as the leader has them; empty where they are called as the robot's.
        :param signs: 1 or -1 each; empty for 1.
        :param offsets: added after the sign, rad or m; empty for 0.
        :param timeout: seconds for which positions count.
        :param deadman: the device whose deadman, and resumption, count.
        :raises ParameterError: lists do not fit each other.
        """
        self._names = tuple(names) or robot.names
        if not len(robot.joints) <= len(self._names) <= len(robot.names):
            raise ParameterError('leader.joints', list(names), f'{len(robot.joints)} names of '
                                 f'joints, at most {len(robot.names)} with grippers')
        self._targets = robot.names[:len(self._names)]
        self._signs = _filled('leader.signs', signs, len(self._names), 1.0)
        self._offsets = _filled('leader.offsets', offsets, len(self._names), 0.0)
        self._timeout = timeout
        self._deadman = deadman
        self._arm = len(robot.joints)
        self._lock = threading.Lock()
        self._positions: dict[str, float] = {}
        self._received = -math.inf

    def take(self, names: Sequence[str], positions: Sequence[float], now: float) -> None:
        """Handle positions of the leader's joints, rad or m."""
        with self._lock:
            self._positions.update(zip(names, positions))
            self._received = now

    def read(self, now: float) -> Intent:
        """Return where the leader was moved to; without fresh positions nothing is held."""
        held = replace(self._deadman.read(now), axes=(0.0,) * 6, opening=None)
        with self._lock:
            known = [name for name in self._names if name in self._positions]
            if now - self._received > self._timeout or known[:self._arm] != list(
                    self._names[:self._arm]):
                return replace(held, is_held=False)
            return replace(held, joints=tuple(
                (target, sign * self._positions[name] + offset) for target, name, sign, offset
                in zip(self._targets, self._names, self._signs, self._offsets) if name in known))


def _filled(name: str, values: Sequence[float], length: int, value: float) -> tuple[float, ...]:
    numbers = tuple(values)
    if len(numbers) == 1 and math.isnan(numbers[0]) or not numbers:
        return (value,) * length
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        raise ParameterError(name, list(numbers), f'{length} numbers, one for each joint')
    return numbers
