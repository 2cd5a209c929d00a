# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
What the frames and statistics of a LeRobot dataset refer to, compared with its metadata.

A dataset is often edited, merged or downloaded in part. Each check names the file, the row and
what is expected there, so that a mistake costs a line and not a training.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.data.lerobot_format import COUNTERS
from vla_ros.data.lerobot_metadata import DatasetError
from vla_ros.data.lerobot_metadata import Episode
from vla_ros.data.lerobot_metadata import Metadata


def check_columns(folder: Path, metadata: Metadata, name: str, columns: list[str]) -> None:
    """
    Compare the columns of a Parquet file with the features.

    :param name: of the file.
    :raises DatasetError: one of them has what the other has not.
    """
    stored = {key for key, feature in metadata.features.items() if feature['dtype'] != 'video'}
    for key in sorted(stored | set(COUNTERS)):
        if key not in columns:
            owner = 'every dataset' if key in COUNTERS else 'meta/info.json'
            raise DatasetError(folder, f'{name} has no column {key!r}, a feature of {owner}')
    for key in columns:
        if key not in stored | set(COUNTERS):
            raise DatasetError(folder, f'{name} has the column {key!r}, which is not a feature of '
                                       'meta/info.json')


def list_numbers(chunk: Any) -> np.ndarray | None:
    """Return an Arrow array of lists as float32 (N, D); None if it is not that."""
    if not hasattr(chunk.type, 'value_type') or chunk.null_count:
        return None
    lengths = np.unique(chunk.value_lengths().to_numpy()) if len(chunk) else []
    values = chunk.flatten()
    if len(lengths) > 1 or values.null_count:
        return None
    try:
        numbers = np.asarray(values.to_numpy(zero_copy_only=False), np.float32)
    except (TypeError, ValueError):
        return None
    return numbers.reshape(len(chunk), -1) if len(chunk) else numbers.reshape(0, 0)


def check_frames(folder: Path, metadata: Metadata, tables: Mapping[str, Any]) -> None:
    """
    Compare the numbers of all frames with the metadata.

    :param tables: pyarrow tables with the ``COUNTERS``, by name of the file.
    :raises DatasetError: a frame is missing, surplus, out of order, or refers to nothing.
    """
    starts = np.cumsum([0, *(episode.length for episode in metadata.episodes)])
    for name, table in tables.items():
        counters = {key: _numbers(folder, name, table, key) for key in COUNTERS}
        episodes = [episode for episode in metadata.episodes if episode.data == name]
        _check_episode_indices(folder, name, counters['episode_index'], episodes)
        row = 0
        for episode in episodes:
            rows = {key: values[row:row + episode.length] for key, values in counters.items()}
            _check_episode(folder, metadata, episode, rows, int(starts[episode.index]))
            row += episode.length


def check_statistics(folder: Path, metadata: Metadata) -> None:
    """
    Compare the names, episodes and lengths in the statistics with the metadata.

    :raises DatasetError: they refer to what is not there.
    """
    for name, statistics in read_statistics(folder, metadata):
        if not isinstance(statistics, dict):
            raise DatasetError(folder, f'{name}: the statistics are not a JSON object')
        for key, numbers in statistics.items():
            if key not in metadata.features:
                raise DatasetError(folder, f'{name}: statistics of {key!r}, which is not a '
                                           'feature of meta/info.json')
            if not isinstance(numbers, dict):
                raise DatasetError(folder, f'{name}: the statistics of {key!r} are not a JSON '
                                           'object')
        if 'action' not in statistics:
            raise DatasetError(folder, f'{name}: no statistics of the feature "action"')
        width = list(metadata.features['action']['shape'])
        for key in ('min', 'max', 'mean', 'std'):
            values = statistics['action'].get(key)
            if not isinstance(values, list) or [len(values)] != width:
                raise DatasetError(folder, f'{name}: {key} of "action" is not {width[0]} numbers, '
                                           'the shape in meta/info.json')


def read_statistics(folder: Path, metadata: Metadata) -> Iterator[tuple[str, Any]]:
    """
    Read the statistics; those of v2.1 are one line an episode. They may be missing.

    :raises DatasetError: they cannot be read.
    """
    per_episode = metadata.version == 'v2.1'
    name = 'meta/episodes_stats.jsonl' if per_episode else 'meta/stats.json'
    if not (folder / name).is_file():
        return
    try:
        text = (folder / name).read_text(encoding='utf-8')
        parts = [json.loads(line) for line in (text.splitlines() if per_episode else [text])
                 if line.strip()]
    except (OSError, ValueError) as error:
        raise DatasetError(folder, f'unreadable {name} ({error})') from None
    if not per_episode:
        yield from ((name, part) for part in parts)
        return
    for number, part in enumerate(parts):
        found = part.get('episode_index') if isinstance(part, dict) else None
        if found != number or number >= len(metadata.episodes):
            raise DatasetError(folder, f'{name}: line {number + 1} is of episode {found!r}; the '
                                       f'episodes are 0 to {len(metadata.episodes) - 1}, in order')
        yield f'{name}, episode {number}', part.get('stats')
    if len(parts) < len(metadata.episodes):
        raise DatasetError(folder, f'{name}: no line of episode {len(parts)}')


def _numbers(folder: Path, name: str, table: Any, key: str) -> np.ndarray:
    """Read a counter, int64 or float64 (N,)."""
    wanted = np.floating if key == 'timestamp' else np.integer
    column = table[key]
    if column.null_count:
        raise DatasetError(folder, f'{name}: {key} is missing in {column.null_count} frames')
    values = column.to_numpy()
    if values.ndim != 1 or not np.issubdtype(values.dtype, wanted):
        raise DatasetError(folder, f'{name}: {key} is of the type {column.type}, not '
                                   f'{"float32" if key == "timestamp" else "int64"}')
    return values


def _check_episode_indices(folder: Path, name: str, found: np.ndarray,
                           episodes: list[Episode]) -> None:
    """Check that a file holds the episodes that the metadata has in it, one after the other."""
    expected: np.ndarray = np.repeat([episode.index for episode in episodes],
                                     [episode.length for episode in episodes])
    for row, (here, wanted) in enumerate(zip(found, expected)):
        if here != wanted:
            raise DatasetError(folder, f'{name}: row {row} is of episode {here}, where the list '
                                       f'of episodes has episode {wanted}')
    if len(found) != len(expected):
        raise DatasetError(folder, f'{name} has {len(found)} frames; the episodes in it have '
                                   f'{len(expected)}')


def _check_episode(folder: Path, metadata: Metadata, episode: Episode,
                   rows: Mapping[str, np.ndarray], first: int) -> None:
    """
    Check the frames of one episode.

    :param first: number of its first frame in the whole dataset.
    """
    where = f'{episode.data}: episode {episode.index}'
    steps = np.arange(episode.length)
    for key, expected in (('frame_index', steps), ('index', first + steps)):
        wrong = np.flatnonzero(rows[key] != expected)
        if len(wrong):
            raise DatasetError(folder, f'{where}: frame {wrong[0]} has the {key} '
                                       f'{rows[key][wrong[0]]}, not {expected[wrong[0]]}')
    for number in np.unique(rows['task_index']).tolist():
        if number not in metadata.tasks:
            raise DatasetError(folder, f'{where}: task_index {number} has no instruction in the '
                                       f'list of tasks ({_some(sorted(metadata.tasks))})')
        if metadata.tasks[number] not in episode.tasks:
            raise DatasetError(folder, f'{where}: task_index {number} is '
                                       f'{metadata.tasks[number]!r}, which the list of episodes '
                                       'does not name for it')
    # Half a frame: jitter of a real camera is no mistake, another rate is.
    gaps = np.diff(rows['timestamp'].astype(np.float64)) * metadata.fps
    wrong = np.flatnonzero(~(np.abs(gaps - 1) < 0.5))
    if len(wrong):
        raise DatasetError(folder, f'{where}: frame {wrong[0] + 1} comes '
                                   f'{gaps[wrong[0]] / metadata.fps:.4g} s after the one before; '
                                   f'fps {metadata.fps:g} in meta/info.json says '
                                   f'{1 / metadata.fps:.4g} s')


def _some(numbers: list[int]) -> str:
    shown = ', '.join(map(str, numbers[:5]))
    return f'{shown}, …' if len(numbers) > 5 else shown
