# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Scenes: positions of the blocks, and their appearance; drawn from a seed."""

from dataclasses import dataclass

import numpy as np

from vla_ros.worlds.tasks import COLORS

#: Edge of a block, m.
BLOCK_SIZE = 0.042
# Where blocks may lie, in polar coordinates about the base (m, rad).
_RADIUS, _ANGLE = (0.30, 0.47), 0.62
_SPACING = 0.115
TABLES = 5
#: A seed is a parameter of ROS, a 64-bit integer.
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Body:
    """
    A block or a distractor on the table.

    :param position: float64 (3,), center, m, in the frame of the base.
    :param yaw: rad.
    :param color: float64 (3,), RGB in [0, 1].
    """

    position: np.ndarray
    yaw: float
    color: np.ndarray


@dataclass(frozen=True)
class Scene:
    """
    One arrangement, with its randomised appearance.

    :param tool: float64 (3,), where the tool starts, m.
    :param gripper: where a finger starts, m.
    :param table: number of the table's material.
    :param table_color: float64 (3,), RGB, tints the material.
    :param light: float64 (2, 3), position of the two lamps, m.
    :param brightness: float64 (2,), of the two lamps.
    :param ambient: brightness from everywhere.
    :param camera_shift: float64 (3,), m.
    :param camera_turn: float64 (3,), rotation vector, rad.
    """

    blocks: dict[str, Body]
    distractors: tuple[Body, ...]
    tool: np.ndarray
    gripper: float
    table: int
    table_color: np.ndarray
    light: np.ndarray
    brightness: np.ndarray
    ambient: float
    camera_shift: np.ndarray
    camera_turn: np.ndarray


_BASE_COLORS = {'red': (0.80, 0.07, 0.06), 'green': (0.07, 0.55, 0.12),
                'blue': (0.06, 0.20, 0.80), 'yellow': (0.90, 0.76, 0.06)}


def draw_scene(seed: int, colors: tuple[str, ...] = ()) -> Scene:
    """
    Draw a scene.

    :param seed: the same seed gives the same scene.
    :param colors: blocks that must be there; others may come in addition.
    """
    rng = np.random.default_rng([7, seed])
    count = max(len(colors), int(rng.choice([2, 3, 4], p=[0.2, 0.3, 0.5])))
    others = [color for color in rng.permutation(COLORS) if color not in colors]
    present = [*colors, *others][:count]
    extra = int(rng.choice([0, 1, 2], p=[0.4, 0.35, 0.25])) if count < 4 else 0
    places = _draw_places(rng, len(present) + extra)
    blocks = {
        str(color): Body(np.array([*place, BLOCK_SIZE / 2]), _draw_yaw(rng, place),
                         np.clip(_BASE_COLORS[color] + rng.uniform(-0.06, 0.06, 3), 0, 1))
        for color, place in zip(present, places)}
    distractors = tuple(Body(np.array([*place, BLOCK_SIZE / 2]), _draw_yaw(rng, place),
                             _draw_gray(rng))
                        for place in places[len(present):])
    radius, angle = rng.uniform(0.28, 0.46), rng.uniform(-_ANGLE, _ANGLE)
    tool = np.array([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0.11, 0.22)])
    return Scene(
        blocks=blocks, distractors=distractors, tool=tool,
        gripper=float(rng.choice([0.0, 0.04])), table=int(rng.integers(TABLES)),
        table_color=_draw_table(rng),
        light=np.array([0.4, 0, 1.6]) + rng.uniform([-0.8, -1.0, -0.3], [0.8, 1.0, 0.5], (2, 3)),
        brightness=np.array([rng.uniform(0.25, 0.6), rng.uniform(0.0, 0.3)]),
        ambient=rng.uniform(0.25, 0.5),
        camera_shift=rng.uniform(-0.006, 0.006, 3), camera_turn=rng.uniform(-0.008, 0.008, 3))


def _draw_places(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Draw positions with a minimum distance from each other; restart when stuck."""
    while True:
        places: list[np.ndarray] = []
        for _ in range(40 * count):
            radius = np.sqrt(rng.uniform(_RADIUS[0]**2, _RADIUS[1]**2))
            angle = rng.uniform(-_ANGLE, _ANGLE)
            place = radius * np.array([np.cos(angle), np.sin(angle)])
            if all(np.hypot(*(place - other)) > _SPACING for other in places):
                places.append(place)
            if len(places) == count:
                return places


def _draw_yaw(rng: np.random.Generator, place: np.ndarray) -> float:
    return float(np.arctan2(place[1], place[0]) + rng.uniform(-0.45, 0.45))


def _draw_gray(rng: np.random.Generator) -> np.ndarray:
    return np.clip(rng.uniform(0.1, 0.9) + rng.uniform(-0.05, 0.05, 3), 0, 1)


def _draw_table(rng: np.random.Generator) -> np.ndarray:
    """Gray, or the brown of wood."""
    gray = rng.uniform(0.35, 0.95)
    wood = np.array([1.0, 0.85, 0.68]) if rng.random() < 0.4 else np.ones(3)
    return np.clip(gray * wood + rng.uniform(-0.03, 0.03, 3), 0, 1)
