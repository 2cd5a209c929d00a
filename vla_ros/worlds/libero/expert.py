# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
A scripted expert for pick-and-place tasks, whose actions are in LIBERO's convention.

It looks at :meth:`vla_ros.worlds.libero.world.LiberoWorld.state`.
"""

from dataclasses import dataclass
import math

import numpy as np

from vla_ros.worlds.libero.grasps import turn

#: Length of a state.
STATE_SIZE = 20
#: Metres and radians that an action of 1 moves the arm by in a step, under the benchmark's own
#: controller (docs/libero.md).
_STEP_M, _STEP_RAD = 0.05 * 0.26, 0.5 * 0.26
#: Share of an error that a step is to make up for.
_GAIN = 0.2
_LARGEST = 0.9
#: Steps that the gripper is given to close and to open, at least and at most.
_CLOSING, _OPENING = (8, 30), (8, 20)
#: Metres by which closing fingers move in a step, and what counts as open.
_FINGER_STEP, _OPEN = 0.0005, 0.06
_HOVER = 0.08
#: Metres below the point of the grasp that the tip goes: a rim slips out of the fingers' tips.
_DEEPER = 0.005


@dataclass(frozen=True)
class WorldState:
    """What an expert sees, see :meth:`vla_ros.worlds.libero.world.LiberoWorld.state`."""

    tip: np.ndarray
    rotation: np.ndarray
    opening: float
    object: np.ndarray  # noqa: A003
    grasp: np.ndarray
    angle: float
    place: np.ndarray
    travel: float
    release: float

    @classmethod
    def read(cls, numbers: np.ndarray) -> 'WorldState':
        """Read float64 (20,)."""
        return cls(numbers[:3], _matrix(numbers[3:6]), float(numbers[6] - numbers[7]),
                   numbers[8:11], numbers[11:14], float(numbers[14]), numbers[15:18],
                   float(numbers[18]), float(numbers[19]))

    @property
    def finger_angle(self) -> float:
        """Angle of the axis along which the fingers close, rad about the vertical."""
        return math.atan2(self.rotation[1, 1], self.rotation[0, 1])


class Expert:
    """Picks an object up and puts it down; remembers how far it has got."""

    def __init__(self) -> None:
        """Start."""
        self._phase = 'approach'
        self._count = 0
        self._grasp = np.zeros(3)
        self._angle = 0.0
        self._lifted_from = 0.0
        self._last = np.zeros(3)
        self._opening = 0.0
        self._still = 0  # steps for which the fingers have not moved

    def act(self, now: WorldState) -> np.ndarray:
        """Return an action, float64 (7,): six numbers in [-1, 1], and the gripper, 1 open."""
        self._count += 1
        goal, is_open = getattr(self, f'_{self._phase}')(now)
        self._last, self._opening = now.tip.copy(), now.opening
        error = (goal - now.tip) * _GAIN / _STEP_M
        error *= _LARGEST / max(float(np.abs(error).max()), _LARGEST)
        twist = _rotation_vector(_pointing_down(self._angle) @ now.rotation.T) * _GAIN / _STEP_RAD
        return np.concatenate([error, np.clip(twist, -0.5, 0.5), [float(is_open)]])

    def _enter(self, phase: str) -> None:
        self._phase, self._count = phase, 0

    def _approach(self, now: WorldState) -> tuple[np.ndarray, bool]:
        self._grasp = now.grasp - [0.0, 0.0, _DEEPER]
        self._angle = now.finger_angle + turn(now.angle, now.finger_angle)
        above = self._grasp + [0.0, 0.0, _HOVER]
        away = float(np.hypot(*(above - now.tip)[:2]))
        is_above = away < 0.008 and now.tip[2] < above[2] + 0.03
        # At the end of its reach the arm gets further as it goes down.
        if (is_above or away < 0.05 and self._is_stuck(now)) and now.opening > 0.07 \
                and abs(turn(self._angle, now.finger_angle)) < 0.06:
            self._enter('descend')
        if away > 0.06:
            above = np.maximum(above, [-9.0, -9.0, now.travel + 0.06])
        return above, True

    def _descend(self, now: WorldState) -> tuple[np.ndarray, bool]:
        is_there = np.abs(now.tip - self._grasp).max() < 0.006
        if is_there or self._is_stuck(now):
            self._enter('close')
        return self._grasp, True

    def _close(self, now: WorldState) -> tuple[np.ndarray, bool]:
        least, most = _CLOSING
        self._still = self._still + 1 if self._opening - now.opening < _FINGER_STEP else 0
        # More than once: now and then a step sees what the one before has seen.
        if self._count > most or self._count > least and self._still > 2:
            self._lifted_from = float(now.object[2])
            self._grasp = now.tip
            self._enter('lift')
        return self._grasp, False

    def _lift(self, now: WorldState) -> tuple[np.ndarray, bool]:
        height = now.travel - now.object[2]
        if now.tip[2] > self._grasp[2] + 0.05 and now.object[2] < self._lifted_from + 0.02:
            self._enter('approach')
        elif height < 0.01:
            self._enter('carry')
        goal = now.tip + [0.0, 0.0, max(height, 0.0) + 0.01]
        return goal, False

    def _carry(self, now: WorldState) -> tuple[np.ndarray, bool]:
        away = now.place - now.object
        if self._has_dropped(now):
            self._enter('approach')
        elif np.hypot(*away[:2]) < 0.01 or self._is_stuck(now):
            self._enter('lower')
        return now.tip + [away[0], away[1], now.travel - now.object[2]], False

    def _lower(self, now: WorldState) -> tuple[np.ndarray, bool]:
        away = now.place - now.object
        is_there = now.object[2] < now.release + 0.006
        if self._has_dropped(now):
            self._enter('approach')
        elif is_there or self._is_stuck(now):
            self._enter('open')
        return now.tip + away, False

    def _open(self, now: WorldState) -> tuple[np.ndarray, bool]:
        if self._count == 1:
            self._grasp = now.tip
        least, most = _OPENING
        if self._count > most or self._count > least and now.opening > _OPEN:
            self._enter('leave')
        return self._grasp, True

    def _leave(self, now: WorldState) -> tuple[np.ndarray, bool]:
        if self._count > 25:  # it has not worked
            self._enter('approach')
        return self._grasp + [0.0, 0.0, 0.12], True

    def _is_stuck(self, now: WorldState) -> bool:
        """Return whether the arm has come to the end of its reach, or something is in the way."""
        return self._count > 25 and float(np.abs(now.tip - self._last).max()) < 0.0005

    def _has_dropped(self, now: WorldState) -> bool:
        return float(np.linalg.norm(now.object - now.tip)) > 0.17


def _pointing_down(angle: float) -> np.ndarray:
    """Return the rotation of a hand that points down with its fingers' axis at an angle."""
    finger = np.array([math.cos(angle), math.sin(angle), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    return np.column_stack([np.cross(finger, down), finger, down])


def _matrix(vector: np.ndarray) -> np.ndarray:
    """Return the rotation of axis times angle, float64 (3, 3)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross


def _rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Return axis times angle of a rotation below half a turn, float64 (3,)."""
    angle = math.acos(min(max((np.trace(rotation) - 1.0) / 2.0, -1.0), 1.0))
    vector = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
                       rotation[1, 0] - rotation[0, 1]]) / 2.0
    length = float(np.linalg.norm(vector))
    return vector * (angle / length if length > 1e-9 else 1.0)
