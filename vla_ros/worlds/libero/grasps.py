# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Where a gripper that points down takes an object that is made of boxes."""

from collections.abc import Iterator
from dataclasses import dataclass
import itertools
import math

import numpy as np

#: Widest object that is taken between the fingers, m; a wider one is taken at its rim.
_WIDEST = 0.068
#: Depth of the grip point below the top of the object, m: between the fingers, and at a rim.
_DEPTH, _RIM_DEPTH = 0.03, 0.012
#: Least height of the grip point above what the object stands on, m: the fingers reach lower.
_FINGER_TIP = 0.014
#: Half of the opening and of a finger's width, and where the ends of the hand are, m.
_OPENING, _FINGER, _HAND_END, _HAND_HEIGHT = 0.042, 0.012, 0.1, 0.055
#: Distance from other things that a hand is to keep, m.
_CLEARANCE = 0.01
_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))


@dataclass(frozen=True)
class Boxes:
    """
    B boxes, m.

    :param centers: float64 (B, 3).
    :param rotations: float64 (B, 3, 3), from each box's axes to the world's.
    :param halves: float64 (B, 3), half of each side.
    """

    centers: np.ndarray
    rotations: np.ndarray
    halves: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """All corners, float64 (8 B, 3)."""
        local = _CORNERS[None] * self.halves[:, None]
        return (np.einsum('bij,bkj->bki', self.rotations, local)
                + self.centers[:, None]).reshape(-1, 3)

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Return the distance of P points, float64 (P, 3), from the next box, negative inside."""
        away = points[:, None] - self.centers[None]
        local = np.abs(np.einsum('bji,pbj->pbi', self.rotations, away)) - self.halves[None]
        outside = np.sqrt((np.maximum(local, 0.0)**2).sum(-1))
        inside = np.minimum(local.max(-1), 0.0)
        return (outside + inside).min(1, initial=math.inf)


@dataclass(frozen=True)
class Grasp:
    """
    A grip point between the finger tips.

    :param point: float64 (3,), m, in the world.
    :param angle: of the axis along which the fingers close, rad about the vertical.
    :param inset: so far from a rim, m: the outer finger needs less room, and moves the object.
    """

    point: np.ndarray
    angle: float
    inset: float = 0.0


def find_grasp(shape: Boxes, obstacles: Boxes, angle: float) -> Grasp:
    """
    Find where to take an object.

    :param obstacles: everything else.
    :param angle: of the fingers' axis now, rad; the hand turns as little as it can.
    """
    corners = shape.corners
    low, top = corners[:, 2].min(), corners[:, 2].max()
    candidates = list(_between(corners, low, top)) or list(_at_rim(corners, low, top))

    def cost(grasp: Grasp) -> float:
        lacking = np.maximum(_CLEARANCE - obstacles.distances(_hand(grasp)), 0.0)
        return 0.02 * abs(turn(grasp.angle, angle)) + float(lacking.sum()) + grasp.inset
    return min(candidates, key=cost)


def turn(goal: float, angle: float) -> float:
    """Return the turn of a two-fingered hand from one angle to another, within a quarter turn."""
    return (goal - angle + math.pi / 2) % math.pi - math.pi / 2


def _between(corners: np.ndarray, low: float, top: float) -> Iterator[Grasp]:
    height = max(top - _DEPTH, low + _FINGER_TIP)
    for degrees in range(0, 180, 10):
        axis, across = _axes(math.radians(degrees))
        along, aside = corners[:, :2] @ axis, corners[:, :2] @ across
        if np.ptp(along) > _WIDEST:
            continue
        center = (along.min() + along.max()) / 2 * axis + (aside.min() + aside.max()) / 2 * across
        yield Grasp(np.array([*center, height]), math.radians(degrees))


def _at_rim(corners: np.ndarray, low: float, top: float) -> Iterator[Grasp]:
    center = (corners[:, :2].min(0) + corners[:, :2].max(0)) / 2
    rim = corners[corners[:, 2] > top - 0.01, :2] - center
    radius = np.median(np.hypot(*rim.T))
    height = max(top - _RIM_DEPTH, low + _FINGER_TIP)
    for degrees, inset in itertools.product(range(-180, 180, 15), (0.0, 0.015)):
        axis, _ = _axes(math.radians(degrees))
        yield Grasp(np.array([*center + (radius - inset) * axis, height]),
                    math.radians(degrees), inset)


def _hand(grasp: Grasp) -> np.ndarray:
    """Return points on the open fingers and on the ends of the hand, float64 (P, 3)."""
    axis, across = _axes(grasp.angle)
    points = []
    for side in (-1.0, 1.0):
        for distance, height in itertools.product(
                (_OPENING, _OPENING + _FINGER), (-0.005, 0.02, 0.04)):
            points += [[*side * distance * axis + aside * _FINGER * across, height]
                       for aside in (-1.0, 1.0)]
        points += [[*side * _HAND_END * axis + aside * 0.025 * across, _HAND_HEIGHT]
                   for aside in (-1.0, 1.0)]
    return grasp.point + np.array(points)


def _axes(angle: float) -> tuple[np.ndarray, np.ndarray]:
    axis = np.array([math.cos(angle), math.sin(angle)])
    return axis, np.array([-axis[1], axis[0]])
