# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Writes a LeRobot dataset, v3.0, frame by frame: memory holds one episode's numbers."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.data.lerobot_format import arrow_schema
from vla_ros.data.lerobot_format import CHUNK_FILES
from vla_ros.data.lerobot_format import counter_features
from vla_ros.data.lerobot_format import DATA_MB
from vla_ros.data.lerobot_format import image_feature
from vla_ros.data.lerobot_format import require_pyarrow
from vla_ros.data.lerobot_format import vector_feature
from vla_ros.data.lerobot_format import VIDEO_MB
from vla_ros.data.lerobot_format import write_info
from vla_ros.data.lerobot_format import write_json
from vla_ros.data.lerobot_format import write_tasks
from vla_ros.data.lerobot_statistics import as_lists
from vla_ros.data.lerobot_statistics import combine
from vla_ros.data.lerobot_statistics import ImageSample
from vla_ros.data.lerobot_statistics import Statistics
from vla_ros.data.lerobot_statistics import statistics_of
from vla_ros.data.video import CODECS
from vla_ros.data.video import VideoWriter
from vla_ros.errors import ParameterError

#: How images are stored: as a video, or without loss as PNG in the tables.
STORAGES = (*CODECS, 'images')
INTERVENTION = 'intervention'
#: The actions of the control steps from a frame on, where frames are rarer than they.
NEXT_ACTIONS = 'next_actions'


@dataclass(frozen=True)
class DatasetLayout:
    """
    What a dataset holds.

    :param cameras: height and width, by name.
    :param state: names of the numbers of ``observation.state``; empty for none.
    :param action: names of the numbers of ``action``.
    :param storage: one of :data:`STORAGES`.
    :param has_interventions: whether each frame says if a person moved the arm.
    :param chunk: actions in ``next_actions`` of each frame; 0: there is no such feature.
    """

    cameras: Mapping[str, tuple[int, int]]
    state: tuple[str, ...]
    action: tuple[str, ...]
    fps: float
    robot_type: str = ''
    storage: str = 'h264'
    has_interventions: bool = True
    chunk: int = 0

    def __post_init__(self) -> None:
        """Reject what cannot be stored."""
        if self.storage not in STORAGES:
            raise ParameterError('storage', self.storage, f'one of {", ".join(STORAGES)}')

    @property
    def is_video(self) -> bool:
        """Whether images are stored as videos."""
        return self.storage in CODECS


@dataclass(frozen=True)
class EpisodeNumbers:
    """
    The numbers of an episode of T frames.

    :param tasks: instruction of each frame.
    :param states: float32 (T, P), None where there is no state.
    :param actions: float32 (T, D).
    :param interventions: bool (T,), whether a person moved the arm; None where that is not stored.
    :param chunks: float32 (T, C, D), the actions from each frame on; None where there are none.
    """

    tasks: Sequence[str]
    states: np.ndarray | None
    actions: np.ndarray
    interventions: np.ndarray | None
    chunks: np.ndarray | None = None


class LeRobotWriter:
    """Takes an episode's images one by one, then its numbers, then the next episode."""

    def __init__(self, folder: Path, layout: DatasetLayout) -> None:
        """
        Start in an empty folder.

        :raises UnsupportedError: pyarrow or PyAV is missing.
        """
        self._parquet = require_pyarrow()
        self._folder = folder
        self._layout = layout
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []
        self._statistics: dict[str, list[Statistics]] = {}
        self._frames = 0
        self._data: Any = None
        self._data_number = 0
        self._videos: dict[str, VideoWriter] = {}
        self._video_numbers = dict.fromkeys(layout.cameras, 0)
        self._video_info: dict[str, dict[str, Any]] = {}
        self._begin()

    def _begin(self) -> None:
        self._samples = {name: ImageSample() for name in self._layout.cameras}
        self._images: dict[str, list[bytes]] = {name: [] for name in self._layout.cameras}
        self._counts = dict.fromkeys(self._layout.cameras, 0)

    def add_image(self, camera: str, rgb: np.ndarray) -> None:
        """
        Add the next image of a camera to the episode.

        :param rgb: uint8 (H, W, 3).
        :raises ParameterError: it has another size than the dataset.
        """
        size = self._layout.cameras[camera]
        if rgb.shape != (*size, 3):
            raise ParameterError(f'image of the camera {camera}',
                                 f'{rgb.shape[1]}x{rgb.shape[0]}',
                                 f'{size[1]}x{size[0]} in every episode')
        self._samples[camera].add(rgb)
        self._counts[camera] += 1
        if self._layout.is_video:
            self._video(camera).write(rgb)
        else:
            buffer = BytesIO()
            Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, 'PNG', compress_level=1)
            self._images[camera].append(buffer.getvalue())

    def save_episode(self, numbers: EpisodeNumbers) -> None:
        """
        End the episode, after all its images.

        :raises ParameterError: a camera has more or fewer images than there are actions.
        """
        length, index = len(numbers.actions), len(self._rows)
        for camera, count in self._counts.items():
            if count != length or not length:
                raise ParameterError(f'images of the camera {camera}', count,
                                     f'{length}, as many as actions, and at least one')
        columns = self._columns(numbers, index)
        self._write_table(columns)
        values = {name: np.asarray(columns[name], np.float64).reshape(length, -1)
                  for name in self._features() if name in columns
                  and not name.startswith('observation.images.')}
        statistics = {name: statistics_of(value) for name, value in values.items()}
        statistics |= {f'observation.images.{camera}': sample.statistics(length)
                       for camera, sample in self._samples.items()}
        for name, found in statistics.items():
            self._statistics.setdefault(name, []).append(found)
        self._rows.append({
            'episode_index': index, 'tasks': list(dict.fromkeys(numbers.tasks)),
            'length': length, 'data/chunk_index': self._data_number // CHUNK_FILES,
            'data/file_index': self._data_number % CHUNK_FILES,
            'dataset_from_index': self._frames, 'dataset_to_index': self._frames + length,
            **self._video_ranges(length),
            **{f'stats/{name}/{key}': value for name, found in as_lists(statistics).items()
               for key, value in found.items()},
            'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0})
        self._frames += length
        self._roll()
        self._begin()

    def close(self) -> None:
        """Close the files and write the metadata, without which the dataset is unreadable."""
        for camera in list(self._videos):
            self._close_video(camera)
        if self._data is not None:
            self._data.close()
        self._write_meta()

    def _columns(self, numbers: EpisodeNumbers, index: int) -> dict[str, Any]:
        length = len(numbers.actions)
        frames = np.arange(length)
        tasks = [self._tasks.setdefault(task, len(self._tasks)) for task in numbers.tasks]
        columns: dict[str, Any] = {}
        if not self._layout.is_video:
            for camera, images in self._images.items():
                columns[f'observation.images.{camera}'] = [
                    {'bytes': image, 'path': f'frame-{frame:06d}.png'}
                    for frame, image in enumerate(images)]
        if numbers.states is not None:
            columns['observation.state'] = numbers.states.astype(np.float32).tolist()
        if numbers.interventions is not None:
            columns[INTERVENTION] = numbers.interventions.astype(bool)
        if numbers.chunks is not None:
            columns[NEXT_ACTIONS] = numbers.chunks.astype(np.float32).reshape(length, -1).tolist()
        return {**columns, 'action': numbers.actions.astype(np.float32).tolist(),
                'timestamp': (frames / self._layout.fps).astype(np.float32),
                'frame_index': frames, 'episode_index': np.full(length, index),
                'index': self._frames + frames, 'task_index': np.array(tasks)}

    def _write_table(self, columns: Mapping[str, Any]) -> None:
        import pyarrow
        schema = arrow_schema(self._features())
        if self._data is None:
            path = self._path('data', self._data_number, 'parquet')
            self._data = self._parquet.ParquetWriter(path, schema)
        table = pyarrow.Table.from_pydict(columns, schema)
        # A reader of one frame reads a whole row group: with images, groups are small.
        self._data.write_table(table, row_group_size=64 if not self._layout.is_video else 4096)

    def _roll(self) -> None:
        """Start new files where the current ones are large enough."""
        if self._path('data', self._data_number, 'parquet').stat().st_size > DATA_MB * 2**20:
            self._data.close()
            self._data = None
            self._data_number += 1
        for camera in list(self._videos):
            path = self._path(f'videos/observation.images.{camera}', self._video_numbers[camera],
                              'mp4')
            if path.stat().st_size > VIDEO_MB * 2**20:
                self._close_video(camera)
                self._video_numbers[camera] += 1

    def _path(self, prefix: str, number: int, suffix: str) -> Path:
        path = (self._folder / prefix / f'chunk-{number // CHUNK_FILES:03d}'
                / f'file-{number % CHUNK_FILES:03d}.{suffix}')
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _video(self, camera: str) -> VideoWriter:
        if camera not in self._videos:
            path = self._path(f'videos/observation.images.{camera}', self._video_numbers[camera],
                              'mp4')
            self._videos[camera] = VideoWriter(path, self._layout.storage, self._layout.fps,
                                               self._layout.cameras[camera])
        return self._videos[camera]

    def _close_video(self, camera: str) -> None:
        video = self._videos.pop(camera)
        video.close()
        self._video_info[camera] = {
            'video.height': video.size[0], 'video.width': video.size[1],
            'video.codec': self._layout.storage, 'video.pix_fmt': video.pixel_format,
            'video.is_depth_map': False, 'video.fps': self._layout.fps, 'video.channels': 3,
            'has_audio': False}

    def _video_ranges(self, length: int) -> dict[str, Any]:
        """Return file and time range of the episode that has just ended in each video."""
        ranges: dict[str, Any] = {}
        for camera, video in self._videos.items():
            prefix, number = f'videos/observation.images.{camera}', self._video_numbers[camera]
            ranges |= {f'{prefix}/chunk_index': number // CHUNK_FILES,
                       f'{prefix}/file_index': number % CHUNK_FILES,
                       f'{prefix}/from_timestamp': (video.frames - length) / self._layout.fps,
                       f'{prefix}/to_timestamp': video.frames / self._layout.fps}
        return ranges

    def _features(self) -> dict[str, dict[str, Any]]:
        """Describe the columns, as meta/info.json does."""
        layout = self._layout
        found: dict[str, dict[str, Any]] = {}
        for camera, size in layout.cameras.items():
            found[f'observation.images.{camera}'] = {
                **image_feature(size, 'video' if layout.is_video else 'image'),
                **({'info': self._video_info[camera]} if camera in self._video_info else {})}
        following = tuple(f'{name}_{step}' for step in range(layout.chunk)
                          for name in layout.action)
        for name, names in (('observation.state', layout.state), ('action', layout.action),
                            (NEXT_ACTIONS, following)):
            if names:
                found[name] = vector_feature(names)
        if layout.has_interventions:
            found[INTERVENTION] = {'dtype': 'bool', 'shape': [1], 'names': None}
        return {**found, **counter_features()}

    def _write_meta(self) -> None:
        import pyarrow
        layout, meta = self._layout, self._folder / 'meta'
        self._parquet.write_table(pyarrow.Table.from_pylist(self._rows),
                                  self._path('meta/episodes', 0, 'parquet'))
        write_tasks(meta / 'tasks.parquet', self._tasks)
        write_json(meta / 'stats.json', as_lists({name: combine(parts) for name, parts
                                                  in self._statistics.items()}))
        write_info(self._folder, self._features(), layout.fps, layout.robot_type or None,
                   episodes=len(self._rows), frames=self._frames, tasks=len(self._tasks))
