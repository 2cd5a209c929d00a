# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Training samples: images, labelled with the action of the expert for every task.

The expert needs no history, so states are sampled directly, around everything that happens in an
episode, without running one: each image is a scene of its own. The DAgger rounds add the states
that the trained model reaches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from PIL import Image

from vla_ros.data.preprocess import TowerTransform
from vla_ros.worlds.expert import Expert
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.robot import UnreachableError
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.scene import Scene
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import COLORS
from vla_ros.worlds.world import World


@dataclass(frozen=True)
class Samples:
    """
    A batch of samples, N long.

    :param images: uint8 (N, S, S, 3), resized as the checkpoint's processor does.
    :param actions: float32 (N, 12, 7), the expert's action for each of ``ALL_TASKS``, in rad and
        m; NaN where the block of that colour is not there.
    :param keypoints: float32 (N, 5, 2), the four blocks and the tool in the image, [0, 1]; NaN
        where there is none.
    :param state: float32 (N, 4), tool position and gripper, m.
    :param task: int64 (N,), index of the task around which the state was sampled.
    """

    images: np.ndarray
    actions: np.ndarray
    keypoints: np.ndarray
    state: np.ndarray
    task: np.ndarray

    @classmethod
    def join(cls, parts: list['Samples']) -> 'Samples':
        """Concatenate batches."""
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Sampler:
    """Makes samples of a world."""

    def __init__(self, world: World, transform: TowerTransform) -> None:
        self.world = world
        self.expert = Expert(world.robot)
        self._transform = transform

    def draw(self, seed: int) -> Samples:
        """Draw a sample; the same seed gives the same."""
        rng = np.random.default_rng([11, seed])
        task = int(rng.choice(len(ALL_TASKS), p=_TASK_WEIGHTS))
        while True:
            scene = draw_scene(int(rng.integers(2**40)), (ALL_TASKS[task].color,))
            try:
                self.world.place(_draw_moment(rng, scene, task))
            except UnreachableError:
                continue
            return self.label(task)

    def label(self, task: int, rendered: np.ndarray | None = None) -> Samples:
        """
        Make a sample of the current state of the world.

        :param rendered: the camera's image of it, if there is one already.
        :raises UnreachableError: a target of the expert is out of the arm's reach.
        """
        world, now = self.world, self.world.state()
        pixels = world.render() if rendered is None else rendered
        image = np.asarray(self._transform.shape_pixels(Image.fromarray(pixels)))
        actions: np.ndarray = np.full((len(ALL_TASKS), 7), np.nan, np.float32)
        for index, other in enumerate(ALL_TASKS):
            if other.color in now.blocks:
                actions[index] = self.expert.act(other, now)
        keypoints = [world.project(now.blocks[color]) if color in now.blocks else (np.nan, np.nan)
                     for color in COLORS]
        keypoints.append(world.project(now.tool))
        return Samples(image[None], actions[None], np.array(keypoints, np.float32)[None],
                       np.array([[*now.tool, now.gripper]], np.float32), np.array([task]))

    def draw_many(self, seeds: range) -> Iterator[Samples]:
        """Draw one sample for each seed."""
        return map(self.draw, seeds)


_TASK_WEIGHTS = np.repeat([0.2, 0.3, 0.5], len(COLORS)) / len(COLORS)


def make_sampler(transform: TowerTransform) -> Sampler:
    """Make a sampler with a world of its own."""
    return Sampler(World(Robot.load()), transform)


def _draw_moment(rng: np.random.Generator, scene: Scene, index: int) -> Scene:
    """Move tool, gripper and block to where they may be in the course of a task."""
    task = ALL_TASKS[index]
    block = scene.blocks[task.color].position
    if rng.random() < 0.2:
        return _anywhere(rng, scene)
    if task.kind == 'reach':
        return _near(rng, scene, block, 0.03, (0.07, 0.13), float(rng.choice([0.0, 0.04])))
    if task.kind == 'push':
        return _pushing(rng, scene, task.color)
    return _picking(rng, scene, task.color)


def _anywhere(rng: np.random.Generator, scene: Scene) -> Scene:
    gripper = float(rng.choice([0.0, 0.04, rng.uniform(0, 0.04)]))
    radius, angle = rng.uniform(0.24, 0.52), rng.uniform(-0.75, 0.75)
    tool = np.array([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0.08, 0.22)])
    return replace(scene, tool=tool, gripper=gripper)


def _near(rng: np.random.Generator, scene: Scene, place: np.ndarray, spread: float,
          heights: tuple[float, float], gripper: float) -> Scene:
    tool = np.array([*place[:2] + rng.normal(0, spread, 2), rng.uniform(*heights)])
    return replace(scene, tool=tool, gripper=gripper)


def _pushing(rng: np.random.Generator, scene: Scene, color: str) -> Scene:
    body = scene.blocks[color]
    outward = body.position[:2] / np.hypot(*body.position[:2])
    if rng.random() < 0.5:
        behind = body.position[:2] - 0.07 * outward
        return _near(rng, scene, behind, 0.018, (0.026, 0.14), 0.0)
    pushed = body.position.copy()
    pushed[:2] += outward * rng.uniform(0, 0.09)
    aside = rng.normal(0, 0.01) * np.array([-outward[1], outward[0]])
    place = pushed[:2] - outward * rng.uniform(0.032, 0.09) + aside
    blocks = {**scene.blocks, color: replace(body, position=pushed)}
    return _near(rng, replace(scene, blocks=blocks), place, 0.001, (0.024, 0.045), 0.0)


def _picking(rng: np.random.Generator, scene: Scene, color: str) -> Scene:
    body = scene.blocks[color]
    moment = rng.random()
    if moment < 0.40:
        return _near(rng, scene, body.position, 0.014, (0.02, 0.14), 0.04)
    if moment < 0.65:
        return _near(rng, scene, body.position, 0.006, (0.016, 0.04),
                     float(rng.choice([0.04, rng.uniform(0.0212, 0.04), 0.0212])))
    if moment < 0.75:
        return _near(rng, scene, body.position, 0.04, (0.06, 0.15), 0.0)
    height = rng.uniform(0.022, 0.21)
    held = np.array([*body.position[:2] + rng.normal(0, 0.01, 2), height])
    yaw = float(np.arctan2(held[1], held[0]) + rng.normal(0, 0.03))
    blocks = {**scene.blocks, color: replace(body, position=held, yaw=yaw)}
    scene = replace(scene, blocks=blocks)
    return _near(rng, scene, held, 0.004, (height - 0.006, height + 0.008), 0.0212)
