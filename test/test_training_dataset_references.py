# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Every reference between the files of a LeRobot dataset is checked: one line, exit status 2."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip('pyarrow')
pytest.importorskip('vla_ros.worlds.world')

from lerobot_folders import edit_json  # noqa: E402, I100
from lerobot_folders import edit_line  # noqa: E402
from lerobot_folders import edit_table  # noqa: E402
from lerobot_folders import write_v21  # noqa: E402
from vla_ros.cli.train import main  # noqa: E402
from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.training.record import Demonstration  # noqa: E402
from vla_ros.training.record import write_dataset  # noqa: E402

INFO, TASKS, EPISODES = 'meta/info.json', 'meta/tasks.jsonl', 'meta/episodes.jsonl'
STATISTICS, FRAMES = 'meta/episodes_stats.jsonl', 'data/chunk-000/episode_000001.parquet'
LIST, TABLE = 'meta/episodes/chunk-000/file-000.parquet', 'data/chunk-000/file-000.parquet'


@pytest.fixture(scope='module')
def v30(tmp_path_factory):
    folder = tmp_path_factory.mktemp('v30') / 'mine'
    write_dataset(folder, iter([
        Demonstration(text, np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 7), np.float32),
                      np.ones((3, 7), np.float32)) for text in ('wave', 'stop')]))
    return folder


def apply_edit(folder, name, edit):
    """Delete a file, replace its text, or edit its content."""
    path = folder / name
    if edit is None:
        path.unlink()
    elif isinstance(edit, str):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(edit)
    elif path.suffix == '.parquet':
        edit_table(path, **edit)
    elif path.suffix == '.json':
        edit_json(path, **edit)
    else:
        edit_line(path, 1, **edit)


def train_refused(folder, capsys, tmp_path):
    """Train on a folder; return the line of the refusal."""
    assert main(['--dataset', str(folder), '--decoders', '0',
                 '--out', str(tmp_path / 'out'), '--steps', '1',
                 '--batch', '2', '--device', 'cpu']) == 2
    shown = capsys.readouterr()
    assert shown.out == '' and len(shown.err.splitlines()) == 1
    return shown.err


FEATURES = {'action': {'dtype': 'float32', 'shape': [2], 'names': None}}
NUMBERS = {key: [0.0, 0.0] for key in ('min', 'max', 'mean', 'std')}
BROKEN_V21 = [
    (FRAMES, {'task_index': [1, 7]},
     'task_index 7 has no instruction in the list of tasks (0, 1)'),
    (FRAMES, {'task_index': [0, 0]}, "task_index 0 is 'wave', which the list of episodes does"),
    (FRAMES, {'task_index': [None, 1]}, 'task_index is missing in 1 frames'),
    (FRAMES, {'task_index': [1.0, 1.0]}, 'task_index is of the type double, not int64'),
    (FRAMES, {'episode_index': [0, 0]}, 'row 0 is of episode 0, where the list of episodes has'),
    (FRAMES, {'frame_index': [1, 0]}, 'frame 0 has the frame_index 1, not 0'),
    (FRAMES, {'index': [2, 4]}, 'frame 1 has the index 4, not 3'),
    (FRAMES, {'timestamp': [0.0, 0.1]}, 'frame 1 comes 0.1 s after the one before; fps 5'),
    (FRAMES, {'timestamp': [0.0, float('nan')]}, 'fps 5 in meta/info.json says 0.2 s'),
    (FRAMES, {'index': None}, "has no column 'index', a feature of every dataset"),
    (FRAMES, {'action': None}, "has no column 'action', a feature of meta/info.json"),
    (FRAMES, {'other': [1, 2]}, "has the column 'other', which is not a feature"),
    (FRAMES, {'action': [[1.0], [2.0]]}, 'action is not a list of numbers in every frame'),
    (FRAMES, {'action': [[1.0, float('inf')]] * 2}, 'action of frame 2 is not finite'),
    (FRAMES, {'observation.image': [{'bytes': None, 'path': 'images/1.png'}] * 2},
     'row 0 of observation.image refers to images/1.png, which is not there'),
    (FRAMES, {'observation.image': [None, {'bytes': b'', 'path': ''}]}, 'refers to no image'),
    (FRAMES, {'observation.image': [1, 2]}, 'observation.image is of the type int64, not images'),
    (FRAMES, None, f'episode 1 refers to {FRAMES}, which is not there'),
    (FRAMES, 'no Parquet', f'unreadable {FRAMES}'),
    ('data/chunk-000/episode_000002.parquet', 'left over', 'belongs to no episode'),
    (TASKS, {'task_index': 0}, 'task_index 0 is listed twice'),
    (TASKS, {'task_index': '1'}, "task_index '1' is not a whole number"),
    (TASKS, {'task': ''}, 'task_index 1 has no instruction'),
    (TASKS, {'task': 'halt'}, "episode 1: its task 'stop' is not in the list of tasks"),
    (TASKS, None, f'unreadable {TASKS}'),
    (TASKS, '[1]\n', 'a line is not a JSON object'),
    (EPISODES, {'episode_index': 2}, 'episode_index 2 stands where 1 is expected'),
    (EPISODES, {'length': 3}, 'says total_frames 4, the lists have 5'),
    (EPISODES, {'length': 0}, 'episode 1: length 0 is not a number of frames'),
    (EPISODES, {'tasks': None}, 'tasks None is not a list of instructions'),
    (EPISODES, None, f'unreadable {EPISODES}'),
    (EPISODES, '', 'lists no episode'),
    (STATISTICS, {'episode_index': 5}, 'line 2 is of episode 5; the episodes are 0 to 1'),
    (STATISTICS, {'stats': {'speed': NUMBERS}}, "statistics of 'speed', which is not a feature"),
    (STATISTICS, {'stats': {}}, 'no statistics of the feature "action"'),
    (STATISTICS, {'stats': {'action': {**NUMBERS, 'max': [1.0]}}}, 'max of "action" is not 2'),
    (STATISTICS, '{"episode_index": 0, "stats": {"action": ' + json.dumps(NUMBERS) + '}}',
     'no line of episode 1'),
    (INFO, {'fps': 0}, 'fps 0 is not a number above 0'),
    (INFO, {'total_episodes': 3}, 'says total_episodes 3, the lists have 2'),
    (INFO, {'total_tasks': 1}, 'says total_tasks 1, the lists have 2'),
    (INFO, {'splits': {'train': '0:9'}}, "split 'train' is '0:9', not a range"),
    (INFO, {'chunks_size': 1}, 'episode 1 refers to data/chunk-001/episode_000001.parquet'),
    (INFO, {'data_path': 'data/{file}.parquet'}, 'is not a pattern of episode_chunk'),
    (INFO, {'data_path': '../{episode_index}.parquet'}, 'refers to ../0.parquet'),
    (INFO, {'features': {**FEATURES, 'wrist': {'dtype': 'video', 'shape': [4, 4, 3]}}},
     'episode 0 refers to videos/chunk-000/wrist/episode_000000.mp4, which is not there'),
    (INFO, {'features': {'action': {'dtype': 'float32'}}}, "'action' has the shape None"),
    (INFO, {'features': {'action': 1}}, "feature 'action' has no dtype"),
    (INFO, {'features': []}, 'features is not a table of columns'),
    (INFO, '[]', 'no usable meta/info.json'),
]


@pytest.mark.parametrize(('name', 'edit', 'message'), BROKEN_V21)
def test_a_broken_reference_in_v2_1_is_one_line(name, edit, message, tmp_path, capsys):
    folder = write_v21(tmp_path / 'mine')
    apply_edit(folder, name, edit)
    assert message in train_refused(folder, capsys, tmp_path)


@pytest.mark.parametrize(('name', 'edit', 'message'), [
    (TABLE, {'task_index': [0, 0, 0, 1, 1, 9]}, 'task_index 9 has no instruction'),
    (TABLE, {'episode_index': [0, 0, 1, 1, 1, 1]}, 'row 2 is of episode 1'),
    (TABLE, None, f'episode 0 refers to {TABLE}, which is not there'),
    (LIST, {'data/file_index': [0, 4]}, 'episode 1 refers to data/chunk-000/file-004.parquet'),
    (LIST, {'data/chunk_index': [0, None]}, 'data/chunk_index None and data/file_index 0 are not'),
    (LIST, {'meta/episodes/file_index': [0, 3]}, 'episode 1 says that it is listed in chunk 0, '
                                                 'file 3'),
    (LIST, {'dataset_from_index': [0, 4]}, 'by the lengths it is 3 to 6'),
    (LIST, {'length': [3, 2]}, 'by the lengths it is 3 to 5'),
    (LIST, {'stats/speed/min': [[0.0], [0.0]]}, "names the feature 'speed', which meta/info.json"),
    (LIST, None, 'meta/episodes/ holds no Parquet file'),
    ('meta/tasks.parquet', {'task_index': [0, 2]}, 'task_index 1 has no instruction'),
    ('meta/tasks.parquet', None, 'unreadable meta/tasks.parquet'),
    ('meta/stats.json', {'speed': {}}, "statistics of 'speed'"),
    ('meta/stats.json', {'action': None}, 'no statistics of the feature "action"'),
    ('meta/stats.json', 'no JSON', 'unreadable meta/stats.json'),
])
def test_a_broken_reference_in_v3_is_one_line(name, edit, message, v30, tmp_path,
                                              capsys):
    folder = shutil.copytree(v30, tmp_path / 'mine')
    apply_edit(folder, name, edit)
    assert message in train_refused(folder, capsys, tmp_path)


def test_valid_datasets_are_accepted(v30, tmp_path):
    assert len(LeRobotDataset(v30)) == 6
    folder = write_v21(tmp_path / 'mine')
    assert len(LeRobotDataset(folder)) == 4
    # LeRobot itself needs no statistics.
    (folder / STATISTICS).unlink()
    assert LeRobotDataset(folder).episode_count == 2


def test_the_camera_with_images_is_the_default_and_another_can_be_named(tmp_path, capsys):
    folder = write_v21(tmp_path / 'mine')
    info = json.loads((folder / INFO).read_text())
    video = folder / 'videos/chunk-000/front/episode_00000{}.mp4'
    video.parent.mkdir(parents=True)
    for number in (0, 1):
        (video.parent / f'episode_00000{number}.mp4').touch()
    edit_json(folder / INFO, features={'front': {'dtype': 'video', 'shape': [4, 4, 3]},
                                       **info['features']})
    assert LeRobotDataset(folder).camera == 'observation.image'
    assert main(['--dataset', str(folder), '--decoders', '0',
                 '--camera', 'front', '--out', str(tmp_path / 'out'),
                 '--device', 'cpu']) == 2
    assert 'it cannot be read as a video' in capsys.readouterr().err
