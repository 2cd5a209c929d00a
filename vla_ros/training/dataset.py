# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Recorded episodes in the format of LeRobot: read from v2.0 to v3.0.

Source: huggingface/lerobot, ``src/lerobot/datasets`` (``utils.py``, ``dataset_metadata.py``). The
versions differ in where episodes are cut into files and in how tasks are listed; the frames are
the same: rows of Parquet with the picture, the action and the number of the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.errors import UnsupportedError
from vla_ros.errors import VlaError

_VERSIONS = ('v2.0', 'v2.1', 'v3.0')


class DatasetError(VlaError):
    """A dataset folder that cannot be read."""

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f'dataset {folder}: {problem}')


@dataclass(frozen=True)
class Frame:
    """
    One moment of an episode.

    :param image: uint8 (H, W, 3), RGB.
    :param instruction: the task.
    :param action: float32 (D,), in the dataset's units.
    """

    image: np.ndarray
    instruction: str
    action: np.ndarray


def need_pyarrow() -> Any:
    """
    Give pyarrow's module ``parquet``.

    :raises UnsupportedError: it is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise UnsupportedError('LeRobot datasets', 'pyarrow is not installed',
                               'pip install pyarrow') from None
    return parquet


class LeRobotDataset:
    """The frames of all episodes, by number."""

    def __init__(self, folder: Path, camera: str = '') -> None:
        """
        Open a folder.

        :param camera: feature with the pictures; empty for the first one there is.
        :raises DatasetError: it is no dataset, or one of another kind.
        :raises UnsupportedError: pyarrow is missing.
        """
        parquet = need_pyarrow()
        self.folder = folder
        self.info = self._read_info()
        self.camera = self._choose_camera(camera)
        self._tasks = self._read_tasks(parquet)
        paths = sorted((folder / 'data').glob('*/*.parquet'))
        if not paths:
            raise DatasetError(folder, 'data/ holds no Parquet file')
        columns = [self.camera, 'action', 'task_index', 'episode_index']
        try:
            self._tables = [parquet.read_table(path, columns=columns) for path in paths]
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(folder, f'unreadable frames ({error})') from None
        lengths = [table.num_rows for table in self._tables]
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        if self.actions.ndim != 2:
            raise DatasetError(folder, 'action is not a list of numbers in every frame')

    @property
    def name(self) -> str:
        """Name of the dataset: that of its folder."""
        return self.folder.resolve().name

    def __len__(self) -> int:
        """Count the frames."""
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Frame:
        """Read one frame."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self._starts, index, 'right')) - 1
        row = int(index - self._starts[part])
        stored = self._tables[part][self.camera][row].as_py()
        return Frame(self._decode(stored), self._tasks[int(self._task_indices[index])],
                     self.actions[index])

    @cached_property
    def actions(self) -> np.ndarray:
        """Actions of all frames, float32 (N, D)."""
        return np.concatenate([np.array(table['action'].to_pylist(), np.float32)
                               for table in self._tables])

    @cached_property
    def _task_indices(self) -> np.ndarray:
        return np.concatenate([table['task_index'].to_numpy() for table in self._tables])

    @cached_property
    def episode_count(self) -> int:
        """Number of episodes."""
        return len({index for table in self._tables
                    for index in table['episode_index'].to_numpy().tolist()})

    def _decode(self, stored: Mapping[str, Any]) -> np.ndarray:
        """Read a picture that is embedded, or a file beside the data."""
        try:
            source = BytesIO(stored['bytes']) if stored['bytes'] else self.folder / stored['path']
            with Image.open(source) as picture:
                return np.asarray(picture.convert('RGB'))
        except (OSError, TypeError) as error:
            raise DatasetError(self.folder, f'unreadable picture ({error})') from None

    def _read_info(self) -> dict[str, Any]:
        path = self.folder / 'meta' / 'info.json'
        try:
            info = json.loads(path.read_text(encoding='utf-8'))
            version, features = info['codebase_version'], info['features']
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(self.folder, f'no usable meta/info.json ({error!r})') from None
        if version not in _VERSIONS:
            raise DatasetError(self.folder, f'codebase_version {version!r} is not one of '
                                            f'{", ".join(_VERSIONS)}')
        if 'action' not in features:
            raise DatasetError(self.folder, 'no feature "action"')
        return info

    def _choose_camera(self, camera: str) -> str:
        kinds = {name: feature['dtype'] for name, feature in self.info['features'].items()
                 if feature['dtype'] in ('image', 'video')}
        chosen = camera or next(iter(kinds), '')
        if chosen not in kinds:
            raise DatasetError(self.folder, f'camera {camera!r} is not one of '
                                            f'{", ".join(kinds) or "none: it has no pictures"}')
        if kinds[chosen] == 'video':
            raise DatasetError(self.folder, f'{chosen} is stored as video, which is not read; '
                                            'store it as images with lerobot-edit-dataset')
        return chosen

    def _read_tasks(self, parquet: Any) -> dict[int, str]:
        """Read the sentence of each task; v3.0 keeps them in a table, v2 in lines of JSON."""
        meta = self.folder / 'meta'
        try:
            if (meta / 'tasks.parquet').is_file():
                table = parquet.read_table(meta / 'tasks.parquet')
                # The sentences are what pandas calls the index, under its name or this one.
                name = 'task' if 'task' in table.column_names else '__index_level_0__'
                return dict(zip(table['task_index'].to_pylist(), table[name].to_pylist()))
            lines = (meta / 'tasks.jsonl').read_text(encoding='utf-8').splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
            return {row['task_index']: row['task'] for row in rows}
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(self.folder, f'unreadable tasks ({error!r})') from None


def action_statistics(dataset: LeRobotDataset) -> dict[str, Any]:
    """Compute what dataset_statistics.json says of a dataset, under its name."""
    actions: np.ndarray = dataset.actions.astype(np.float64)
    low, high = np.quantile(actions, 0.01, 0), np.quantile(actions, 0.99, 0)
    # A number that never changes would be divided by zero.
    still = high - low < 1e-6
    low, high = np.where(still, low - 1e-3, low), np.where(still, high + 1e-3, high)
    return {dataset.name: {
        'action': {'q01': low.tolist(), 'q99': high.tolist(), 'min': actions.min(0).tolist(),
                   'max': actions.max(0).tolist(), 'mean': actions.mean(0).tolist(),
                   'std': actions.std(0).tolist(), 'mask': [True] * actions.shape[1]},
        'num_trajectories': dataset.episode_count, 'num_transitions': len(dataset)}}
