# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The files of a LeRobot dataset, v3.0: columns, Arrow schema and metadata.

Source of the format: huggingface/lerobot, ``dataset_writer.py`` and ``dataset_metadata.py``.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from vla_ros.util.packages import missing_package

#: Columns that number the frames.
COUNTERS = ('timestamp', 'frame_index', 'episode_index', 'index', 'task_index')
#: Files of one ``chunk-…`` folder at most.
CHUNK_FILES = 1000
#: Sizes at which a new file is begun, MiB.
DATA_MB, VIDEO_MB = 100, 200


def require_pyarrow() -> Any:
    """
    Return pyarrow's module ``parquet``.

    :raises UnsupportedError: it is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise missing_package('LeRobot datasets', error) from None
    return parquet


def image_feature(size: Sequence[int], dtype: str = 'image') -> dict[str, Any]:
    """
    Describe the images of a camera as ``meta/info.json`` does.

    :param size: height and width.
    :param dtype: ``image`` or ``video``.
    """
    return {'dtype': dtype, 'shape': [*size, 3], 'names': ['height', 'width', 'channels']}


def vector_feature(names: Sequence[str]) -> dict[str, Any]:
    """Describe joint positions as ``meta/info.json`` does."""
    return {'dtype': 'float32', 'shape': [len(names)], 'names': [f'{name}.pos' for name in names]}


def counter_features() -> dict[str, dict[str, Any]]:
    """Describe the :data:`COUNTERS` as ``meta/info.json`` does."""
    return {name: {'dtype': 'float32' if name == 'timestamp' else 'int64', 'shape': [1],
                   'names': None} for name in COUNTERS}


def arrow_schema(features: Mapping[str, Mapping[str, Any]]) -> Any:
    """Describe the columns of the tables to Arrow, and to the library ``datasets``."""
    import pyarrow
    types = {'int64': pyarrow.int64(), 'float32': pyarrow.float32(), 'bool': pyarrow.bool_(),
             'image': pyarrow.struct([('bytes', pyarrow.binary()), ('path', pyarrow.string())])}
    fields: list[Any] = []
    described: dict[str, Any] = {}
    for name, feature in features.items():
        dtype = feature['dtype']
        if dtype == 'video':
            continue
        value = {'dtype': dtype, '_type': 'Value'}
        if dtype == 'image':
            fields.append((name, types[dtype]))
            described[name] = {'_type': 'Image'}
        elif dtype == 'float32' and name not in COUNTERS:
            length = feature['shape'][0]
            fields.append((name, pyarrow.list_(pyarrow.float32(), length)))
            described[name] = {'feature': value, 'length': length, '_type': 'Sequence'}
        else:
            fields.append((name, types[dtype]))
            described[name] = value
    return pyarrow.schema(fields, {'huggingface': json.dumps({'info': {'features': described}})})


def write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """Write the tasks' instructions with their numbers."""
    import pyarrow
    table = pyarrow.table({'task_index': list(tasks.values()), 'task': list(tasks)})
    # LeRobot reads the table with pandas and needs the instructions as its index.
    index = {'index_columns': ['task'], 'column_indexes': [], 'columns': [
        {'name': 'task_index', 'field_name': 'task_index', 'pandas_type': 'int64',
         'numpy_type': 'int64', 'metadata': None},
        {'name': 'task', 'field_name': 'task', 'pandas_type': 'unicode', 'numpy_type': 'object',
         'metadata': None}],
        'creator': {'library': 'pyarrow', 'version': pyarrow.__version__},
        'pandas_version': '2.0.0'}
    table = table.replace_schema_metadata({'pandas': json.dumps(index)})
    require_pyarrow().write_table(table, path)


def write_info(folder: Path, features: Mapping[str, Any], fps: float, robot_type: str | None, *,
               episodes: int, frames: int, tasks: int) -> None:
    """
    Write ``meta/info.json``.

    :param folder: the dataset.
    :param fps: frames a second; a whole number is written without a fraction.
    """
    has_video = any(feature['dtype'] == 'video' for feature in features.values())
    info = {'codebase_version': 'v3.0', 'robot_type': robot_type,
            'fps': int(fps) if fps == int(fps) else fps,
            'total_episodes': episodes, 'total_frames': frames, 'total_tasks': tasks,
            'chunks_size': CHUNK_FILES, 'data_files_size_in_mb': DATA_MB,
            'video_files_size_in_mb': VIDEO_MB, 'splits': {'train': f'0:{episodes}'},
            'data_path': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet',
            'video_path': 'videos/{video_key}/chunk-{chunk_index:03d}/'
                          'file-{file_index:03d}.mp4' if has_video else None,
            'features': features}
    write_json(folder / 'meta' / 'info.json', info)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as LeRobot does, indented by four."""
    path.write_text(json.dumps(value, indent=4) + '\n', encoding='utf-8')
