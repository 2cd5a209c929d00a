# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Writes a LeRobot dataset, v3.0, frame by frame: memory holds one episode's numbers.

Source of the format: huggingface/lerobot, ``dataset_writer.py`` and ``dataset_metadata.py``.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.data.lerobot_statistics import as_lists
from vla_ros.data.lerobot_statistics import combine
from vla_ros.data.lerobot_statistics import PictureSample
from vla_ros.data.lerobot_statistics import Statistics
from vla_ros.data.lerobot_statistics import statistics_of
from vla_ros.data.video import CODECS
from vla_ros.data.video import VideoWriter
from vla_ros.errors import ParameterError
from vla_ros.util.packages import missing_package

#: How pictures are stored: as a video, or as PNG in the tables, which loses nothing.
STORAGES = (*CODECS, 'images')
_DATA_MB, _VIDEO_MB = 100, 200
_CHUNK_FILES = 1000
COUNTERS = ('timestamp', 'frame_index', 'episode_index', 'index', 'task_index')
INTERVENTION = 'intervention'


@dataclass(frozen=True)
class DatasetLayout:
    """
    What a dataset holds.

    :param cameras: height and width, by name.
    :param state: names of the numbers of ``observation.state``; empty for none.
    :param action: names of the numbers of ``action``.
    :param storage: one of :data:`STORAGES`.
    """

    cameras: Mapping[str, tuple[int, int]]
    state: tuple[str, ...]
    action: tuple[str, ...]
    fps: float
    robot_type: str = ''
    storage: str = 'h264'

    def __post_init__(self) -> None:
        """Reject what cannot be stored."""
        if self.storage not in STORAGES:
            raise ParameterError('storage', self.storage, f'one of {", ".join(STORAGES)}')

    @property
    def is_video(self) -> bool:
        """Whether pictures are videos."""
        return self.storage in CODECS


@dataclass(frozen=True)
class EpisodeNumbers:
    """
    All of an episode of T frames but its pictures.

    :param tasks: sentence of each frame.
    :param states: float32 (T, P), None where there is no state.
    :param actions: float32 (T, D).
    :param interventions: bool (T,), whether a person moved the arm.
    """

    tasks: Sequence[str]
    states: np.ndarray | None
    actions: np.ndarray
    interventions: np.ndarray


def need_pyarrow() -> Any:
    """
    Give pyarrow's module ``parquet``.

    :raises UnsupportedError: it is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise missing_package('LeRobot datasets', error) from None
    return parquet


class LeRobotWriter:
    """Takes the pictures of an episode one by one, then its numbers, then the next episode."""

    def __init__(self, folder: Path, layout: DatasetLayout) -> None:
        """
        Begin in an empty folder.

        :raises UnsupportedError: pyarrow or PyAV is missing.
        """
        self._parquet = need_pyarrow()
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
        self._samples = {name: PictureSample() for name in self._layout.cameras}
        self._pictures: dict[str, list[bytes]] = {name: [] for name in self._layout.cameras}
        self._counts = dict.fromkeys(self._layout.cameras, 0)

    def add_picture(self, camera: str, rgb: np.ndarray) -> None:
        """
        Add the next picture of a camera to the episode.

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
            self._pictures[camera].append(buffer.getvalue())

    def save_episode(self, numbers: EpisodeNumbers) -> None:
        """
        End the episode, whose pictures are all there.

        :raises ParameterError: there are more or fewer of them than of the actions.
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
            'length': length, 'data/chunk_index': self._data_number // _CHUNK_FILES,
            'data/file_index': self._data_number % _CHUNK_FILES,
            'dataset_from_index': self._frames, 'dataset_to_index': self._frames + length,
            **self._video_places(length),
            **{f'stats/{name}/{key}': value for name, found in as_lists(statistics).items()
               for key, value in found.items()},
            'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0})
        self._frames += length
        self._roll()
        self._begin()

    def close(self) -> None:
        """Write what is written last: without it, no one can read the dataset."""
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
            for camera, pictures in self._pictures.items():
                columns[f'observation.images.{camera}'] = [
                    {'bytes': picture, 'path': f'frame-{frame:06d}.png'}
                    for frame, picture in enumerate(pictures)]
        if numbers.states is not None:
            columns['observation.state'] = numbers.states.astype(np.float32).tolist()
        return {**columns, 'action': numbers.actions.astype(np.float32).tolist(),
                INTERVENTION: numbers.interventions.astype(bool),
                'timestamp': (frames / self._layout.fps).astype(np.float32),
                'frame_index': frames, 'episode_index': np.full(length, index),
                'index': self._frames + frames, 'task_index': np.array(tasks)}

    def _write_table(self, columns: Mapping[str, Any]) -> None:
        import pyarrow
        schema = self._schema()
        if self._data is None:
            path = self._path('data', self._data_number, 'parquet')
            self._data = self._parquet.ParquetWriter(path, schema)
        table = pyarrow.Table.from_pydict(columns, schema)
        # Small groups: whoever wants one frame reads no more than one of them.
        self._data.write_table(table, row_group_size=64 if not self._layout.is_video else 4096)

    def _roll(self) -> None:
        """Begin new files where the present ones are large enough."""
        if self._path('data', self._data_number, 'parquet').stat().st_size > _DATA_MB * 2**20:
            self._data.close()
            self._data = None
            self._data_number += 1
        for camera in list(self._videos):
            path = self._path(f'videos/observation.images.{camera}', self._video_numbers[camera],
                              'mp4')
            if path.stat().st_size > _VIDEO_MB * 2**20:
                self._close_video(camera)
                self._video_numbers[camera] += 1

    def _path(self, prefix: str, number: int, suffix: str) -> Path:
        path = (self._folder / prefix / f'chunk-{number // _CHUNK_FILES:03d}'
                / f'file-{number % _CHUNK_FILES:03d}.{suffix}')
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

    def _video_places(self, length: int) -> dict[str, Any]:
        """Say where in which video an episode that has just ended lies."""
        places: dict[str, Any] = {}
        for camera, video in self._videos.items():
            prefix, number = f'videos/observation.images.{camera}', self._video_numbers[camera]
            places |= {f'{prefix}/chunk_index': number // _CHUNK_FILES,
                       f'{prefix}/file_index': number % _CHUNK_FILES,
                       f'{prefix}/from_timestamp': (video.frames - length) / self._layout.fps,
                       f'{prefix}/to_timestamp': video.frames / self._layout.fps}
        return places

    def _features(self) -> dict[str, dict[str, Any]]:
        """Describe the columns, as meta/info.json does."""
        layout = self._layout
        found: dict[str, dict[str, Any]] = {}
        for camera, size in layout.cameras.items():
            found[f'observation.images.{camera}'] = {
                'dtype': 'video' if layout.is_video else 'image', 'shape': [*size, 3],
                'names': ['height', 'width', 'channels'],
                **({'info': self._video_info[camera]} if camera in self._video_info else {})}
        for name, names in (('observation.state', layout.state), ('action', layout.action)):
            if names:
                found[name] = {'dtype': 'float32', 'shape': [len(names)],
                               'names': [f'{one}.pos' for one in names]}
        found[INTERVENTION] = {'dtype': 'bool', 'shape': [1], 'names': None}
        return {**found, **{name: {'dtype': 'float32' if name == 'timestamp' else 'int64',
                                   'shape': [1], 'names': None} for name in COUNTERS}}

    def _schema(self) -> Any:
        """Describe the columns to Arrow, and to the library ``datasets``, which reads them."""
        import pyarrow
        kinds = {'int64': pyarrow.int64(), 'float32': pyarrow.float32(), 'bool': pyarrow.bool_(),
                 'image': pyarrow.struct([('bytes', pyarrow.binary()),
                                          ('path', pyarrow.string())])}
        fields: list[Any] = []
        described: dict[str, Any] = {}
        for name, feature in self._features().items():
            kind = feature['dtype']
            if kind == 'video':
                continue
            value = {'dtype': kind, '_type': 'Value'}
            if kind == 'image':
                fields.append((name, kinds[kind]))
                described[name] = {'_type': 'Image'}
            elif name in ('observation.state', 'action'):
                length = feature['shape'][0]
                fields.append((name, pyarrow.list_(pyarrow.float32(), length)))
                described[name] = {'feature': value, 'length': length, '_type': 'Sequence'}
            else:
                fields.append((name, kinds[kind]))
                described[name] = value
        return pyarrow.schema(fields,
                              {'huggingface': json.dumps({'info': {'features': described}})})

    def _write_meta(self) -> None:
        import pyarrow
        layout, meta = self._layout, self._folder / 'meta'
        self._parquet.write_table(pyarrow.Table.from_pylist(self._rows),
                                  self._path('meta/episodes', 0, 'parquet'))
        table = pyarrow.table({'task_index': list(self._tasks.values()),
                               'task': list(self._tasks)})
        self._parquet.write_table(table.replace_schema_metadata(_pandas_index(pyarrow)),
                                  meta / 'tasks.parquet')
        info = {'codebase_version': 'v3.0', 'robot_type': layout.robot_type or None,
                'fps': int(layout.fps) if layout.fps == int(layout.fps) else layout.fps,
                'total_episodes': len(self._rows), 'total_frames': self._frames,
                'total_tasks': len(self._tasks), 'chunks_size': _CHUNK_FILES,
                'data_files_size_in_mb': _DATA_MB, 'video_files_size_in_mb': _VIDEO_MB,
                'splits': {'train': f'0:{len(self._rows)}'},
                'data_path': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet',
                'video_path': 'videos/{video_key}/chunk-{chunk_index:03d}/'
                              'file-{file_index:03d}.mp4' if layout.is_video else None,
                'features': self._features()}
        statistics = as_lists({name: combine(parts) for name, parts in self._statistics.items()})
        for name, value in (('stats', statistics), ('info', info)):
            (meta / f'{name}.json').write_text(json.dumps(value, indent=4) + '\n',
                                               encoding='utf-8')


def _pandas_index(pyarrow: Any) -> dict[str, str]:
    """Make the sentences the index for pandas, by which LeRobot reads the tasks."""
    return {'pandas': json.dumps({
        'index_columns': ['task'], 'column_indexes': [], 'columns': [
            {'name': 'task_index', 'field_name': 'task_index', 'pandas_type': 'int64',
             'numpy_type': 'int64', 'metadata': None},
            {'name': 'task', 'field_name': 'task', 'pandas_type': 'unicode',
             'numpy_type': 'object', 'metadata': None}],
        'creator': {'library': 'pyarrow', 'version': pyarrow.__version__},
        'pandas_version': '2.0.0'})}
