# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Small LeRobot datasets for the tests, and edits that break them."""

from io import BytesIO
import json

from PIL import Image
import pyarrow as pa
from pyarrow import parquet

VECTOR = {'dtype': 'float32', 'shape': [2], 'names': None}
COUNTERS = {name: {'dtype': 'float32' if name == 'timestamp' else 'int64', 'shape': [1],
                   'names': None}
            for name in ('timestamp', 'frame_index', 'episode_index', 'index', 'task_index')}


def write_v21(folder, version='v2.1', kind='image'):
    """Write two episodes in v2.1: a file for each, and metadata as JSON lines."""
    meta, data = folder / 'meta', folder / 'data/chunk-000'
    meta.mkdir(parents=True)
    data.mkdir(parents=True)
    info = {'codebase_version': version, 'fps': 5, 'total_episodes': 2, 'total_frames': 4,
            'total_tasks': 2, 'chunks_size': 1000, 'splits': {'train': '0:2'},
            'data_path': 'data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet',
            'video_path': 'videos/chunk-{episode_chunk:03d}/{video_key}/'
                          'episode_{episode_index:06d}.mp4',
            'features': {'observation.image': {'dtype': kind, 'shape': [4, 6, 3], 'names': None},
                         'action': VECTOR, **COUNTERS}}
    (meta / 'info.json').write_text(json.dumps(info))
    write_lines(meta / 'tasks.jsonl', [{'task_index': 0, 'task': 'wave'},
                                       {'task_index': 1, 'task': 'stop'}])
    write_lines(meta / 'episodes.jsonl', [
        {'episode_index': index, 'tasks': [task], 'length': 2}
        for index, task in enumerate(('wave', 'stop'))])
    write_lines(meta / 'episodes_stats.jsonl', [
        {'episode_index': index, 'stats': {'action': {
            'min': [index, 5.0], 'max': [index, 5.0], 'mean': [index, 5.0], 'std': [0.0, 0.0],
            'count': [2]}}} for index in (0, 1)])
    for episode in (0, 1):
        images = []
        for frame in range(2):
            buffer = BytesIO()
            Image.new('RGB', (6, 4), (10 * episode, frame, 7)).save(buffer, 'PNG')
            images.append({'bytes': buffer.getvalue(), 'path': None})
        columns = {
            'observation.image': images, 'action': [[episode, 5.0], [episode, 5.0]],
            'timestamp': pa.array([0.0, 0.2], pa.float32()), 'frame_index': [0, 1],
            'episode_index': [episode] * 2, 'index': [2 * episode, 2 * episode + 1],
            'task_index': [episode] * 2}
        if kind == 'video':
            del columns['observation.image']
            video = folder / f'videos/chunk-000/observation.image/episode_{episode:06d}.mp4'
            video.parent.mkdir(parents=True, exist_ok=True)
            video.touch()
        parquet.write_table(pa.table(columns), data / f'episode_{episode:06d}.parquet')
    return folder


def write_lines(path, rows):
    """Write JSON lines."""
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def edit_json(path, **changes):
    """Replace keys of a JSON object; None removes one."""
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: x for key, x in value.items() if x is not None}))


def edit_line(path, number, **changes):
    """Replace keys of one of the JSON lines."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[number].update(changes)
    write_lines(path, rows)


def edit_table(path, **changes):
    """Replace columns of a Parquet file; None removes one."""
    columns = parquet.read_table(path).to_pydict() | changes
    parquet.write_table(pa.table({key: x for key, x in columns.items() if x is not None}), path)
