# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A gamepad, a pedal or a space mouse that is a ``sensor_msgs/Joy``."""

from collections.abc import Sequence
from dataclasses import dataclass
import math
import threading

from vla_ros.errors import ParameterError
from vla_ros.teleop.intent import AXES
from vla_ros.teleop.intent import Intent


@dataclass(frozen=True)
class GamepadMap:
    """
    What the numbers of a message mean.

    :param deadman: button that is held.
    :param gripper: button that opens and closes the gripper in turn; -1 for none.
    :param resume: button that lets the policy go on; -1 for none.
    :param axes: axis of each of :data:`vla_ros.teleop.intent.AXES`; -1 for none.
    :param scales: of each, -1 to 1; negative to turn it round.
    :param dead_zone: below it an axis is at rest.
    :param timeout: seconds for which a message counts.
    """

    deadman: int
    gripper: int
    resume: int
    axes: tuple[float, ...]
    scales: tuple[float, ...]
    dead_zone: float
    timeout: float

    def __post_init__(self) -> None:
        """Reject lists of another length."""
        for name in ('axes', 'scales'):
            values = getattr(self, name)
            if len(values) != len(AXES):
                raise ParameterError(f'joy.{name}', list(values),
                                     f'{len(AXES)} numbers, one for each of {", ".join(AXES)}')
        if not all(-1.0 <= value <= 1.0 for value in self.scales):
            raise ParameterError('joy.scales', list(self.scales), 'numbers from -1 to 1')
        if any(value != int(value) for value in self.axes):
            raise ParameterError('joy.axes', list(self.axes), 'whole numbers')


class Gamepad:
    """Keeps the newest message; an old one, or one that makes no sense, holds no deadman."""

    def __init__(self, mapping: GamepadMap) -> None:
        """Start with nothing received."""
        self._map = mapping
        self._lock = threading.Lock()
        self._axes: list[float] = []
        self._buttons: list[int] = []
        self._received = -math.inf
        self._opening: float | None = None
        self._resumes = False

    def take(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> None:
        """
        Handle a message.

        :param axes: -1 to 1.
        :param now: monotonic seconds.
        """
        with self._lock:
            before, self._buttons = self._buttons, list(buttons)
            self._axes, self._received = list(axes), now
            is_pressed = [_is_down(self._buttons, index) and not _is_down(before, index)
                          for index in (self._map.gripper, self._map.resume)]
            if is_pressed[0] and _is_down(self._buttons, self._map.deadman):
                self._opening = 1.0 if self._opening == 0.0 else 0.0
            self._resumes |= is_pressed[1]

    def read(self, now: float) -> Intent:
        """Return what the newest message says."""
        with self._lock:
            resumes, self._resumes = self._resumes, False
            axes = [self._axis(index) * scale
                    for index, scale in zip(self._map.axes, self._map.scales)]
            if now - self._received > self._map.timeout or not all(map(math.isfinite, axes)) \
                    or not _is_down(self._buttons, self._map.deadman):
                self._opening = None
                return Intent(resumes=resumes)
            return Intent(True, tuple(axes), opening=self._opening, resumes=resumes)

    def _axis(self, index: float) -> float:
        number = int(index)
        if not 0 <= number < len(self._axes):
            return 0.0
        value, zone = self._axes[number], self._map.dead_zone
        if abs(value) <= zone:
            return 0.0
        # From zero on, so that the arm does not set off at the zone's speed.
        share = (abs(value) - zone) / (1.0 - zone)
        return math.copysign(min(share, 1.0) if math.isfinite(share) else share, value)


def _is_down(buttons: Sequence[int], index: int) -> bool:
    return 0 <= index < len(buttons) and buttons[index] == 1
