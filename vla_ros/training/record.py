# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The expert's demonstrations as a LeRobot dataset, with images as PNG inside the Parquet."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.data.lerobot_format import arrow_schema
from vla_ros.data.lerobot_format import counter_features
from vla_ros.data.lerobot_format import COUNTERS
from vla_ros.data.lerobot_format import DATA_MB
from vla_ros.data.lerobot_format import image_feature
from vla_ros.data.lerobot_format import need_pyarrow
from vla_ros.data.lerobot_format import vector_feature
from vla_ros.data.lerobot_format import write_info
from vla_ros.data.lerobot_format import write_json
from vla_ros.data.lerobot_format import write_tasks
from vla_ros.data.lerobot_metadata import DatasetError
from vla_ros.training.disturbance import Disturbance
from vla_ros.training.seeds import demonstration_seed
from vla_ros.worlds.expert import Expert
from vla_ros.worlds.robot import JOINTS
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import Referee
from vla_ros.worlds.world import World

CAMERA = 'observation.images.camera'
_STATE = 'observation.state'
_FPS = 10
_SECONDS = 15.0
_QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)


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
    referee = Referee(task, world.situation())
    images, states, actions = [], [], []
    while referee.decided is None and world.time < _SECONDS:
        action = expert.act(task, world.situation())
        images.append(world.render())
        states.append(world.joint_positions())
        actions.append(action)
        # The label is the expert's action, not the perturbed command.
        world.command(disturb(action))
        world.step(1 / _FPS)
        referee.observe(world.situation())
    return Demonstration(task.instruction, np.stack(images), np.array(states, np.float32),
                         np.array(actions, np.float32))


def record(folder: Path, episodes: int, seed: int, report: Callable[[int], None]) -> None:
    """
    Write a dataset of demonstrations.

    :raises DatasetError: the folder is not empty.
    :raises UnsupportedError: pyarrow is missing.
    """
    need_pyarrow()
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
    """Write episodes in the format."""
    import pyarrow
    parquet = need_pyarrow()
    tasks: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    values: list[dict[str, np.ndarray]] = []
    features = _features((1, 1))
    writer, number, first = None, 0, 0
    for index, episode in enumerate(episodes):
        features = _features(episode.images.shape[1:3])
        task = tasks.setdefault(episode.instruction, len(tasks))
        columns = _columns(episode, index, first, task)
        path = folder / f'data/chunk-000/file-{number:03d}.parquet'
        if writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = parquet.ParquetWriter(path, arrow_schema(features))
        writer.write_table(pyarrow.Table.from_pydict(columns, arrow_schema(features)))
        length = len(episode.actions)
        values.append(_values(episode, columns))
        rows.append({'episode_index': index, 'tasks': [episode.instruction], 'length': length,
                     'data/chunk_index': 0, 'data/file_index': number,
                     'dataset_from_index': first, 'dataset_to_index': first + length,
                     **_flat(_statistics([values[-1]])),
                     'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0})
        first += length
        if path.stat().st_size > (DATA_MB - 10) * 2**20:
            writer.close()
            writer, number = None, number + 1
    if writer is not None:
        writer.close()
    _write_meta(folder, features, tasks, rows, _statistics(values), first)


def _columns(episode: Demonstration, index: int, first: int, task: int) -> dict[str, Any]:
    length = len(episode.actions)
    frames = np.arange(length)
    return {CAMERA: [{'bytes': _png(image), 'path': f'frame-{frame:06d}.png'}
                     for frame, image in enumerate(episode.images)],
            _STATE: episode.states.tolist(), 'action': episode.actions.tolist(),
            'timestamp': (frames / _FPS).astype(np.float32), 'frame_index': frames,
            'episode_index': np.full(length, index), 'index': first + frames,
            'task_index': np.full(length, task)}


def _png(image: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, 'PNG')
    return buffer.getvalue()


def _features(size: tuple[int, ...]) -> dict[str, Any]:
    """Describe the columns, as meta/info.json does."""
    return {CAMERA: image_feature(size), _STATE: vector_feature(JOINTS),
            'action': vector_feature(JOINTS), **counter_features()}


def _values(episode: Demonstration, columns: dict[str, Any]) -> dict[str, np.ndarray]:
    """Give the values of the statistics: all numbers, and every 16th pixel."""
    pixels = episode.images[:, ::4, ::4].reshape(-1, 3) / 255
    numbers = {name: np.asarray(columns[name], np.float64).reshape(len(episode.actions), -1)
               for name in (_STATE, 'action', *COUNTERS)}
    return {CAMERA: pixels, **numbers}


def _statistics(parts: list[dict[str, np.ndarray]]) -> dict[str, dict[str, list]]:
    """Compute the statistics of each column; those of images have the shape (3, 1, 1)."""
    found = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        frames = sum(len(part['action']) for part in parts)
        numbers = {'min': values.min(0), 'max': values.max(0), 'mean': values.mean(0),
                   'std': values.std(0)}
        numbers |= {f'q{round(100 * q):02d}': np.quantile(values, q, 0) for q in _QUANTILES}
        shape = (3, 1, 1) if name == CAMERA else (-1,)
        found[name] = {key: value.reshape(shape).tolist() for key, value in numbers.items()}
        found[name]['count'] = [frames]
    return found


def _flat(statistics: dict[str, dict[str, list]]) -> dict[str, list]:
    return {f'stats/{name}/{key}': value for name, numbers in statistics.items()
            for key, value in numbers.items()}


def _write_meta(folder: Path, features: dict[str, Any], tasks: dict[str, int],
                rows: list[dict[str, Any]], statistics: dict[str, Any], frames: int) -> None:
    import pyarrow
    meta = folder / 'meta'
    (meta / 'episodes/chunk-000').mkdir(parents=True)
    need_pyarrow().write_table(pyarrow.Table.from_pylist(rows),
                               meta / 'episodes/chunk-000/file-000.parquet')
    write_tasks(meta / 'tasks.parquet', tasks)
    write_json(meta / 'stats.json', statistics)
    write_info(folder, features, _FPS, 'vla_ros_six_axis_arm', episodes=len(rows), frames=frames,
               tasks=len(tasks))
