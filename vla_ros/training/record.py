# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The expert's demonstrations as a LeRobot dataset, with images as PNG inside the Parquet."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_ros.data.lerobot_format import require_pyarrow
from vla_ros.data.lerobot_metadata import DatasetError
from vla_ros.data.lerobot_writer import DatasetLayout
from vla_ros.data.lerobot_writer import EpisodeNumbers
from vla_ros.data.lerobot_writer import LeRobotWriter
from vla_ros.errors import ParameterError
from vla_ros.training.disturbance import Disturbance
from vla_ros.training.seeds import demonstration_seed
from vla_ros.worlds.expert import Expert
from vla_ros.worlds.robot import JOINTS
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import SuccessDetector
from vla_ros.worlds.world import World

_CAMERA = 'camera'
#: Feature of its images.
CAMERA = f'observation.images.{_CAMERA}'
_FPS = 10
_SECONDS = 15.0


@dataclass(frozen=True)
class Demonstration:
    """
    One episode, T frames long.

    :param images: uint8 (T, H, W, 3).
    :param states: float32 (T, 7), joint positions, rad and m.
    :param actions: float32 (T, 7), joint targets of the expert, rad and m.
    """

    instruction: str
    images: np.ndarray
    states: np.ndarray
    actions: np.ndarray


def demonstrate(world: World, seed: int, index: int) -> Demonstration:
    """Record the expert in a task while its commands are perturbed now and then."""
    rng = np.random.default_rng([17, seed, index])
    task = ALL_TASKS[index % len(ALL_TASKS)]
    expert, disturb = Expert(world.robot), Disturbance(rng).apply
    world.reset(draw_scene(demonstration_seed(seed, index), (task.color,)))
    detector = SuccessDetector(task, world.state())
    images, states, actions = [], [], []
    while detector.decided is None and world.time < _SECONDS:
        action = expert.act(task, world.state())
        images.append(world.render())
        states.append(world.joint_positions())
        actions.append(action)
        # The label is the expert's action, not the perturbed command.
        world.command(disturb(action))
        world.step(1 / _FPS)
        detector.observe(world.state())
    return Demonstration(task.instruction, np.stack(images), np.array(states, np.float32),
                         np.array(actions, np.float32))


def record(folder: Path, episodes: int, seed: int, report: Callable[[int], None]) -> None:
    """
    Write a dataset of demonstrations.

    :raises DatasetError: the folder is not empty.
    :raises UnsupportedError: pyarrow is missing.
    """
    require_pyarrow()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(folder, 'it must be a new or an empty folder, so that nothing in it is '
                           'overwritten')
    world = World(Robot.load())
    write_dataset(folder, _count(report, (demonstrate(world, seed, index)
                                          for index in range(episodes))))


def _count(report: Callable[[int], None],
           episodes: Iterator[Demonstration]) -> Iterator[Demonstration]:
    for done, episode in enumerate(episodes, 1):
        yield episode
        report(done)


def write_dataset(folder: Path, episodes: Iterator[Demonstration]) -> None:
    """
    Write episodes in the format.

    :raises ParameterError: there is no episode, or one with images of another size.
    """
    writer = None
    for episode in episodes:
        if writer is None:
            writer = LeRobotWriter(folder, DatasetLayout(
                {_CAMERA: episode.images.shape[1:3]}, JOINTS, JOINTS, _FPS, 'vla_ros_six_axis_arm',
                storage='images', has_interventions=False))
        for image in episode.images:
            writer.add_image(_CAMERA, image)
        writer.save_episode(EpisodeNumbers([episode.instruction] * len(episode.actions),
                                           episode.states, episode.actions, None))
    if writer is None:
        raise ParameterError('episodes', 0, 'at least one')
    writer.close()
