# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The frames of a LeRobot dataset, v2.0 to v3.0: images in the tables or beside them, or videos.

The numbers of all actions are in memory, four bytes each. Images are read when they are asked
for, so that a dataset may be larger than the memory.
"""

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
import threading
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.data.lerobot_checks import check_columns
from vla_ros.data.lerobot_checks import check_frames
from vla_ros.data.lerobot_checks import check_statistics
from vla_ros.data.lerobot_checks import list_numbers
from vla_ros.data.lerobot_checks import read_statistics
from vla_ros.data.lerobot_format import COUNTERS
from vla_ros.data.lerobot_format import require_pyarrow
from vla_ros.data.lerobot_metadata import DatasetError
from vla_ros.data.lerobot_metadata import read_metadata
from vla_ros.data.lerobot_writer import INTERVENTION
from vla_ros.data.video import require_av
from vla_ros.data.video import VideoError
from vla_ros.data.video import VideoReader

#: Rows of a table that are read at a time.
_ROWS = 8192
#: Row groups of images that stay in memory.
_MOST_GROUPS = 2
#: Share of a frame's duration that the time in a video may differ by.
_TOLERANCE = 0.45


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


@dataclass(frozen=True)
class _Table:
    """One Parquet file, and how many frames there are before each of its row groups."""

    name: str
    first: int
    groups: np.ndarray


class LeRobotDataset:
    """The frames of all episodes, by number; its images may be read by several threads."""

    def __init__(self, folder: Path, camera: str = '') -> None:
        """
        Open a folder.

        :param camera: feature with the images of a :class:`Frame`; empty for the first one.
        :raises DatasetError: it is not a dataset, one of another kind, or its files do not fit
            together.
        :raises UnsupportedError: pyarrow is missing, or PyAV for videos.
        """
        self._parquet = require_pyarrow()
        self.folder = folder
        self.metadata = read_metadata(folder, self._parquet)
        check_statistics(folder, self.metadata)
        self.camera = self._choose_camera(camera)
        self._tables = self._list_tables()
        check_frames(folder, self.metadata, _Counters(self._names(), self._read))
        self._starts = np.array([table.first for table in self._tables])
        for name in self.cameras:
            if not self._is_video(name):
                self._check_images(name)
        self._check_actions()
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[int, int, str], Any] = OrderedDict()
        self._videos = VideoReader()

    def __getstate__(self) -> dict[str, Any]:
        """Exclude what a worker process makes for itself."""
        return {**self.__dict__, '_lock': None, '_parquet': None, '_groups': OrderedDict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make it in a worker process."""
        self.__dict__.update(state)
        self._lock, self._parquet = threading.Lock(), require_pyarrow()

    @property
    def name(self) -> str:
        """Name of the dataset: that of its folder."""
        return self.folder.resolve().name

    @property
    def cameras(self) -> tuple[str, ...]:
        """Features that are images, in the dataset's order."""
        return tuple(name for name, feature in self.metadata.features.items()
                     if feature['dtype'] in ('image', 'video'))

    @property
    def action_names(self) -> tuple[str, ...]:
        """What the numbers of an action are called; their places where they have no names."""
        names = self.metadata.features['action'].get('names')
        if isinstance(names, Mapping):  # of v2.0: {'motors': [...]}
            names = next(iter(names.values()), None)
        width = self.actions.shape[1]
        if not isinstance(names, list) or len(names) != width:
            return tuple(map(str, range(width)))
        return tuple(str(name).removesuffix('.pos') for name in names)

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.actions)

    def __getitem__(self, index: int) -> Frame:
        """Read one frame."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Frame(self.image(index, self.camera), self.instruction(index),
                     self.actions[index])

    def instruction(self, index: int) -> str:
        """Return the task of a frame."""
        return self.metadata.tasks[int(self._task_indices[index])]

    def image(self, index: int, camera: str) -> np.ndarray:
        """
        Read the image of a camera in a frame, uint8 (H, W, 3) RGB.

        :raises DatasetError: it is damaged, or not there.
        """
        if self._is_video(camera):
            return self._read_video(index, camera)
        part = int(np.searchsorted(self._starts, index, 'right')) - 1
        return self._decode(self._stored(part, index - int(self._starts[part]), camera))

    @cached_property
    def actions(self) -> np.ndarray:
        """Actions of all frames, float32 (N, D)."""
        return self.vectors('action')

    @cached_property
    def states(self) -> np.ndarray | None:
        """Proprioception of all frames, float32 (N, P); None if there is none."""
        feature = self.metadata.features.get('observation.state')
        return None if feature is None else self.vectors('observation.state')

    @cached_property
    def interventions(self) -> np.ndarray:
        """Frames in which a person moved the arm, bool (N,); none where nothing says so."""
        is_tagged = INTERVENTION in self.metadata.features
        return (self._scalars(INTERVENTION).astype(bool) if is_tagged else
                np.zeros(len(self), bool))

    @property
    def statistics(self) -> Mapping[str, Any]:
        """What ``meta/stats.json`` says, by feature; empty where it is missing or of v2.1."""
        if self.metadata.version == 'v2.1':
            return {}
        return next((part for _, part in read_statistics(self.folder, self.metadata)), {})

    @property
    def episode_count(self) -> int:
        """Number of episodes."""
        return len(self.metadata.episodes)

    @cached_property
    def episode_rows(self) -> tuple[range, ...]:
        """Frames of each episode."""
        ends = self._episode_ends.tolist()
        return tuple(range(first, end) for first, end in zip([0, *ends], ends))

    @cached_property
    def _episode_ends(self) -> np.ndarray:
        return np.cumsum([episode.length for episode in self.metadata.episodes])

    @cached_property
    def _task_indices(self) -> np.ndarray:
        return self._scalars('task_index').astype(np.int32)

    def _scalars(self, key: str) -> np.ndarray:
        """Read a column of numbers, (N,)."""
        return np.concatenate([column.to_numpy(zero_copy_only=False)
                               for column in self._columns(key)])

    def _is_video(self, camera: str) -> bool:
        return bool(self.metadata.features[camera]['dtype'] == 'video')

    def _names(self) -> list[str]:
        """Return the Parquet files, in the order of the episodes."""
        return list(dict.fromkeys(episode.data for episode in self.metadata.episodes))

    def _read(self, name: str, columns: list[str]) -> Any:
        try:
            return self._parquet.read_table(self.folder / name, columns=columns)
        except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
            raise self._unreadable(name, error) from None

    def _unreadable(self, name: str, error: Exception) -> DatasetError:
        return DatasetError(self.folder, f'unreadable {name} ({" ".join(str(error).split())})')

    def _columns(self, key: str) -> Iterator[Any]:
        """Read a column in parts, Arrow arrays of some rows each: never all of it at a time."""
        for name in self._names():
            try:
                with self._parquet.ParquetFile(self.folder / name) as file:
                    for batch in file.iter_batches(_ROWS, columns=[key], use_threads=False):
                        yield batch.column(0)
            except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
                raise self._unreadable(name, error) from None

    def vectors(self, key: str) -> np.ndarray:
        """
        Read a column of vectors, float32 (N, D).

        :raises DatasetError: they are not that, or D is not what the metadata says.
        """
        shape, frames, row = self.metadata.features[key]['shape'], int(self._episode_ends[-1]), 0
        vectors: np.ndarray = np.empty((0, 0), np.float32)
        for column in self._columns(key):
            numbers = list_numbers(column)
            if numbers is None:
                raise DatasetError(self.folder, f'{key} is not a list of numbers in every frame')
            if [numbers.shape[1]] != shape:
                raise DatasetError(
                    self.folder, f'{key} is not a list of numbers in every frame, of the shape '
                                 f'{shape} in meta/info.json: it has {numbers.shape[1]}')
            if not row:
                vectors = np.empty((frames, numbers.shape[1]), np.float32)
            vectors[row:row + len(numbers)] = numbers
            row += len(numbers)
        return vectors

    def _read_video(self, index: int, camera: str) -> np.ndarray:
        number = int(np.searchsorted(self._episode_ends, index, 'right'))
        path, start = self.metadata.episodes[number].videos[camera]
        frame = index - self.episode_rows[number].start
        period = 1 / self.metadata.fps
        try:
            with self._lock:
                return self._videos.read(self.folder / path, start + frame * period,
                                         _TOLERANCE * period)
        except VideoError as error:
            raise DatasetError(self.folder, f'frame {index} of {camera}: {error}') from None

    def _stored(self, part: int, row: int, camera: str) -> Mapping[str, Any]:
        """Return what is stored of an image, out of the row group that holds it."""
        table = self._tables[part]
        group = int(np.searchsorted(table.groups, row, 'right')) - 1
        key = part, group, camera
        with self._lock:
            found = self._groups.get(key)
            if found is None:
                try:
                    with self._parquet.ParquetFile(self.folder / table.name) as file:
                        found = file.read_row_group(group, columns=[camera])[camera]
                except (OSError, ValueError, KeyError, TypeError) as error:
                    raise self._unreadable(table.name, error) from None
                self._groups[key] = found
                while len(self._groups) > _MOST_GROUPS * len(self.cameras):
                    self._groups.popitem(last=False)
            self._groups.move_to_end(key)
        return found[int(row - table.groups[group])].as_py()

    def _decode(self, stored: Mapping[str, Any]) -> np.ndarray:
        """Read an image that is embedded, or a file beside the data."""
        try:
            source = BytesIO(stored['bytes']) if stored['bytes'] else self.folder / stored['path']
            with Image.open(source) as image:
                return np.asarray(image.convert('RGB'))
        # Pillow raises a SyntaxError for a PNG whose chunks are damaged.
        except (OSError, TypeError, ValueError, SyntaxError) as error:
            raise DatasetError(self.folder, f'unreadable image ({error})') from None

    def _list_tables(self) -> list[_Table]:
        """List the Parquet files that the metadata refers to, in the episodes' order."""
        names = self._names()
        found = {path.relative_to(self.folder).as_posix()
                 for path in (self.folder / 'data').glob('*/*.parquet')}
        surplus = sorted(found - set(names))
        if surplus:
            raise DatasetError(self.folder, f'{surplus[0]} belongs to no episode of the metadata')
        tables, first = [], 0
        for name in names:
            try:
                with self._parquet.ParquetFile(self.folder / name) as file:
                    check_columns(self.folder, self.metadata, name, file.schema_arrow.names)
                    lengths = [file.metadata.row_group(group).num_rows
                               for group in range(file.metadata.num_row_groups)]
            except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
                raise self._unreadable(name, error) from None
            tables.append(_Table(name, first, np.cumsum([0, *lengths])[:-1]))
            first += sum(lengths)
        return tables

    def _check_images(self, camera: str) -> None:
        """Check that every frame has an image, or names a file that is there."""
        for table in self._tables:
            with self._parquet.ParquetFile(self.folder / table.name) as file:
                kind = file.schema_arrow.field(camera).type
                if not {'bytes', 'path'} <= {field.name for field in getattr(kind, 'fields', ())}:
                    raise DatasetError(self.folder, f'{table.name}: {camera} is of the type '
                                                    f'{kind}, not images (bytes, path)')
                for group, first in enumerate(table.groups.tolist()):
                    if not _is_embedded(file.metadata.row_group(group), camera):
                        self._check_files(table.name, camera, first,
                                          file.read_row_group(group, columns=[camera])[camera])

    def _check_files(self, name: str, camera: str, first: int, column: Any) -> None:
        """Check the images of a row group, not all of which are embedded."""
        row = first
        for chunk in column.chunks:
            embedded = np.asarray(chunk.is_valid()) & np.asarray(chunk.field('bytes').is_valid())
            for place in np.flatnonzero(~embedded).tolist():
                path = (chunk[place].as_py() or {}).get('path')
                if not path or not (self.folder / path).is_file():
                    raise DatasetError(
                        self.folder, f'{name}: row {row + place} of {camera} refers to '
                                     f'{path or "no image"}, which is not there')
            row += len(chunk)

    def _check_actions(self) -> None:
        """Check that every action is made of numbers."""
        wrong = np.flatnonzero(~np.isfinite(self.actions).all(1))
        if len(wrong):
            raise DatasetError(self.folder, f'action of frame {wrong[0]} is not finite')

    def _choose_camera(self, camera: str) -> str:
        cameras = self.cameras
        images = [name for name in cameras if not self._is_video(name)]
        chosen = camera or next(iter([*images, *cameras]), '')
        if chosen not in cameras:
            raise DatasetError(self.folder, f'camera {camera!r} is not one of '
                                            f'{", ".join(cameras) or "none: it has no images"}')
        if any(map(self._is_video, cameras)):
            require_av()
        return chosen


class _Counters(Mapping[str, Any]):
    """The tables of the counters by file, each read when it is looked at."""

    def __init__(self, names: list[str], read: Callable[[str, list[str]], Any]) -> None:
        self._names = names
        self._read = read

    def __getitem__(self, name: str) -> Any:
        return self._read(name, list(COUNTERS))

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _is_embedded(group: Any, camera: str) -> bool:
    """Return from a row group's own statistics that all of its images are in it."""
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == f'{camera}.bytes':
            found = column.statistics
            return found is not None and found.has_null_count and found.null_count == 0
    return False


def action_statistics(dataset: LeRobotDataset) -> dict[str, Any]:
    """Compute what dataset_statistics.json says of a dataset, under its name."""
    return {dataset.name: {
        'action': describe_values(dataset.actions), 'num_trajectories': dataset.episode_count,
        'num_transitions': len(dataset)}}


def describe_values(values: np.ndarray) -> dict[str, Any]:
    """Compute the statistics of actions or states, (N, D), by which they are scaled."""
    numbers: dict[str, list[Any]] = {}
    for narrow in values.T:  # one by one, as float64 takes twice the memory
        column = narrow.astype(np.float64)
        low, high = np.quantile(column, 0.01), np.quantile(column, 0.99)
        if high - low < 1e-6:  # a number that never changes would be divided by zero
            low, high = low - 1e-3, high + 1e-3
        for name, value in (('q01', low), ('q99', high), ('min', column.min()),
                            ('max', column.max()), ('mean', column.mean()),
                            ('std', column.std())):
            numbers.setdefault(name, []).append(float(value))
    return {**numbers, 'mask': [True] * values.shape[1]}
