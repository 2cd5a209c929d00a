# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The metadata of a LeRobot dataset, v2.0 to v3.0, with every reference in it checked.

Source: huggingface/lerobot, ``src/lerobot/datasets`` (``utils.py``, ``dataset_metadata.py``). The
versions differ in how episodes are divided into files and in how tasks and episodes are listed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import json
from pathlib import Path
from typing import Any

from vla_ros.errors import VlaError

_VERSIONS = ('v2.0', 'v2.1', 'v3.0')
_DATA_PATHS = {
    'v2': 'data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet',
    'v3': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'}


class DatasetError(VlaError):
    """A dataset folder that cannot be read."""

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f'dataset {folder}: {problem}')


@dataclass(frozen=True)
class Episode:
    """
    One episode as the metadata lists it.

    :param length: number of frames.
    :param tasks: instructions of its frames.
    :param data: Parquet file that holds its frames, relative to the folder.
    :param videos: by camera, the video file, relative to the folder, and the seconds in it at
        which the episode begins.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    data: str
    videos: Mapping[str, tuple[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Metadata:
    """
    What the files in ``meta/`` say, consistent in itself.

    :param features: shape and dtype of each column, by name.
    :param fps: frames per second.
    :param tasks: instructions by ``task_index``.
    :param episodes: by ``episode_index``.
    """

    version: str
    features: Mapping[str, Mapping[str, Any]]
    fps: float
    tasks: Mapping[int, str]
    episodes: tuple[Episode, ...]


def read_metadata(folder: Path, parquet: Any) -> Metadata:
    """
    Read ``meta/info.json``, the tasks and the episodes.

    :param parquet: pyarrow's module ``parquet``.
    :raises DatasetError: a file is missing or unreadable, or refers to what is not there.
    """
    return _Reader(folder, parquet).read()


class _Reader:
    """Reads the metadata of one folder."""

    def __init__(self, folder: Path, parquet: Any) -> None:
        self._folder = folder
        self._parquet = parquet
        self._info = self._read_info()
        self._is_v3 = self._info['codebase_version'] == 'v3.0'
        self._frames = 0

    def read(self) -> Metadata:
        info = self._info
        features = self._check_features()
        tasks = self._read_tasks()
        episodes = tuple(self._episode(row, number, tasks, features)
                         for number, row in enumerate(self._read_episodes()))
        if not episodes:
            raise self._error('the metadata lists no episode')
        self._check_totals(tasks, episodes)
        return Metadata(info['codebase_version'], features, self._read_fps(), tasks, episodes)

    def _error(self, problem: str) -> DatasetError:
        return DatasetError(self._folder, problem)

    def _read_info(self) -> dict[str, Any]:
        path = self._folder / 'meta' / 'info.json'
        try:
            info = json.loads(path.read_text(encoding='utf-8'))
            version, _ = info['codebase_version'], info['features']
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._error(f'no usable meta/info.json ({error!r})') from None
        if version not in _VERSIONS:
            raise self._error(f'codebase_version {version!r} is not one of '
                              f'{", ".join(_VERSIONS)}')
        return info

    def _read_fps(self) -> float:
        fps = self._info.get('fps')
        if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps < 1e6:
            raise self._error(f'meta/info.json: fps {fps!r} is not a number above 0')
        return float(fps)

    def _check_features(self) -> Mapping[str, Mapping[str, Any]]:
        features = self._info['features']
        if not isinstance(features, dict):
            raise self._error('meta/info.json: features is not a table of columns')
        for name, feature in features.items():
            if not isinstance(feature, dict) or not isinstance(feature.get('dtype'), str):
                raise self._error(f'meta/info.json: feature {name!r} has no dtype')
            shape = feature.get('shape')
            if not isinstance(shape, list) or not all(_is_count(n) for n in shape):
                raise self._error(f'meta/info.json: feature {name!r} has the shape {shape!r}, '
                                  'not a list of whole numbers')
        if 'action' not in features:
            raise self._error('no feature "action"')
        return features

    def _read_tasks(self) -> dict[int, str]:
        """Read the instruction of each task; v3.0 keeps them in a table, v2 in lines of JSON."""
        name = 'meta/tasks.parquet' if self._is_v3 else 'meta/tasks.jsonl'
        tasks: dict[int, str] = {}
        for row in self._rows(name):
            # In v3.0 the instructions are the index of pandas, under its name or this one.
            number: Any = row.get('task_index')
            instruction = row.get('task', row.get('__index_level_0__'))
            if not _is_count(number):
                raise self._error(f'{name}: task_index {number!r} is not a whole number from 0')
            if not isinstance(instruction, str) or not instruction.strip():
                raise self._error(f'{name}: task_index {number} has no instruction')
            if number in tasks:
                raise self._error(f'{name}: task_index {number} is listed twice')
            tasks[number] = instruction
        return tasks

    def _read_episodes(self) -> list[dict[str, Any]]:
        if not self._is_v3:
            return self._rows('meta/episodes.jsonl')
        paths = sorted((self._folder / 'meta/episodes').glob('*/*.parquet'))
        if not paths:
            raise self._error('meta/episodes/ holds no Parquet file')
        names = [path.relative_to(self._folder).as_posix() for path in paths]
        rows = []
        for name in names:
            for row in self._rows(name):
                self._check_own_place(row, name)
                rows.append(row)
        return rows

    def _check_own_place(self, row: Mapping[str, Any], name: str) -> None:
        """Check that an episode names the file of ``meta/episodes`` that lists it."""
        chunk, file = row.get('meta/episodes/chunk_index'), row.get('meta/episodes/file_index')
        if (chunk, file) == (None, None):
            return
        if not (_is_count(chunk) and _is_count(file)) or (
                name != f'meta/episodes/chunk-{chunk:03d}/file-{file:03d}.parquet'):
            raise self._error(f'{name}: episode {row.get("episode_index")} says that it is listed '
                              f'in chunk {chunk}, file {file} of meta/episodes')

    def _rows(self, name: str) -> list[dict[str, Any]]:
        """Read the rows of a table, Parquet or lines of JSON."""
        path = self._folder / name
        try:
            if path.suffix == '.parquet':
                table = self._parquet.read_table(path)
                # One line an episode and feature: statistics are checked by their names alone.
                self._check_statistics_columns(name, table.column_names)
                return table.select([column for column in table.column_names
                                     if not column.startswith('stats/')]).to_pylist()
            lines = path.read_text(encoding='utf-8').splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
        except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
            raise self._error(f'unreadable {name} ({_one_line(error)})') from None
        if not all(isinstance(row, dict) for row in rows):
            raise self._error(f'{name}: a line is not a JSON object')
        return rows

    def _check_statistics_columns(self, name: str, columns: list[str]) -> None:
        for column in columns:
            if column.startswith('stats/'):
                feature = column[len('stats/'):].rpartition('/')[0]
                if feature not in self._info['features']:
                    raise self._error(f'{name}: column {column} names the feature {feature!r}, '
                                      'which meta/info.json does not list')

    def _episode(self, row: Mapping[str, Any], number: int, tasks: Mapping[int, str],
                 features: Mapping[str, Mapping[str, Any]]) -> Episode:
        """Check one row of the list of episodes."""
        if row.get('episode_index') != number:
            raise self._error(f'the list of episodes: episode_index '
                              f'{row.get("episode_index")!r} stands where {number} is expected')
        length: Any = row.get('length')
        if not _is_count(length) or length == 0:
            raise self._error(f'episode {number}: length {length!r} is not a number of frames')
        stored = row.get('tasks')
        if not isinstance(stored, list) or not stored:
            raise self._error(f'episode {number}: tasks {stored!r} is not a list of instructions')
        for instruction in stored:
            if instruction not in tasks.values():
                raise self._error(f'episode {number}: its task {instruction!r} is not in the list '
                                  'of tasks')
        if self._is_v3:
            self._check_range(row, number, length)
        self._frames += length
        videos = {name: self._video(row, number, name) for name, feature in features.items()
                  if feature['dtype'] == 'video'}
        data = self._path('data_path', row, number, 'data',
                          _DATA_PATHS['v3' if self._is_v3 else 'v2'])
        return Episode(number, length, tuple(stored), data, videos)

    def _check_range(self, row: Mapping[str, Any], number: int, length: int) -> None:
        """Check which rows of the whole dataset belong to an episode."""
        first, end = row.get('dataset_from_index'), row.get('dataset_to_index')
        if (first, end) != (self._frames, self._frames + length):
            raise self._error(f'episode {number}: dataset_from_index {first!r} to '
                              f'dataset_to_index {end!r}; by the lengths it is {self._frames} to '
                              f'{self._frames + length}')

    def _video(self, row: Mapping[str, Any], number: int, camera: str) -> tuple[str, float]:
        """Return the video file of an episode, and the time in it at which the episode begins."""
        path = self._path('video_path', row, number, f'videos/{camera}', '', video_key=camera)
        if not self._is_v3:
            return path, 0.0
        start: Any = row.get(f'videos/{camera}/from_timestamp', 0.0)
        if isinstance(start, bool) or not isinstance(start, (int, float)) or not 0 <= start < 1e9:
            raise self._error(f'episode {number}: videos/{camera}/from_timestamp {start!r} is not '
                              'a number of seconds')
        return path, float(start)

    def _path(self, key: str, row: Mapping[str, Any], number: int, prefix: str, default: str,
              **names: str) -> str:
        """
        Return the file of an episode, relative to the folder.

        :param key: name of the pattern in meta/info.json.
        :param prefix: of the columns that number chunk and file (v3.0).
        """
        pattern = self._info.get(key) or default
        if self._is_v3:
            chunk, file = row.get(f'{prefix}/chunk_index'), row.get(f'{prefix}/file_index')
            if not (_is_count(chunk) and _is_count(file)):
                raise self._error(f'episode {number}: {prefix}/chunk_index {chunk!r} and '
                                  f'{prefix}/file_index {file!r} are not whole numbers from 0')
            values = {'chunk_index': chunk, 'file_index': file}
        else:
            size = self._info.get('chunks_size', 1000)
            if not _is_count(size) or size == 0:
                raise self._error(f'meta/info.json: chunks_size {size!r} is not a whole number '
                                  'above 0')
            values = {'episode_chunk': number // size, 'episode_index': number}
        try:
            path = str(pattern.format(**values, **names))
        except (AttributeError, KeyError, IndexError, ValueError):
            raise self._error(f'meta/info.json: {key} {pattern!r} is not a pattern of '
                              f'{", ".join([*values, *names])}') from None
        inside = (self._folder / path).resolve().is_relative_to(self._folder.resolve())
        if not path or not inside or not (self._folder / path).is_file():
            raise self._error(f'episode {number} refers to {path or "no file"}, which is not '
                              'there')
        return path

    def _check_totals(self, tasks: Mapping[int, str], episodes: tuple[Episode, ...]) -> None:
        """Compare the totals and splits of meta/info.json with the lists."""
        for key, found in (('total_episodes', len(episodes)), ('total_tasks', len(tasks)),
                           ('total_frames', sum(episode.length for episode in episodes))):
            stored = self._info.get(key, found)
            if stored != found:
                raise self._error(f'meta/info.json says {key} {stored!r}, the lists have {found}')
        splits = self._info.get('splits') or {}
        for name, stored in splits.items() if isinstance(splits, dict) else [('', splits)]:
            first, colon, end = str(stored).partition(':')
            if not (colon and first.isdecimal() and end.isdecimal()
                    and int(first) <= int(end) <= len(episodes)):
                raise self._error(f'meta/info.json: split {name!r} is {stored!r}, not a range of '
                                  f'the episodes 0:{len(episodes)}')


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())
