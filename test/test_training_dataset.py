# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Datasets in LeRobot's format, against the published schema.

Source of the schema: huggingface/lerobot at 7427f318, ``src/lerobot/datasets``: ``utils.py``
(paths, DatasetInfo), ``feature_utils.py`` (types of columns), ``dataset_writer.py`` (columns of
an episode), ``utils/constants.py`` (DEFAULT_FEATURES), ``compute_stats.py`` (statistics).
"""

import json

import numpy as np
import pytest

pa = pytest.importorskip('pyarrow')
pytest.importorskip('vla_ros.worlds.world')

from lerobot_folders import write_v21  # noqa: E402, I100
from pyarrow import compute  # noqa: E402, I100
from pyarrow import parquet  # noqa: E402
from vla_ros.cli.train import main  # noqa: E402
from vla_ros.data.actions import ActionStatistics  # noqa: E402
from vla_ros.data.lerobot_dataset import action_statistics  # noqa: E402
from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.data.lerobot_metadata import DatasetError  # noqa: E402
from vla_ros.worlds.tasks import ALL_TASKS  # noqa: E402

DEFAULT_FEATURES = {'timestamp': 'float32', 'frame_index': 'int64', 'episode_index': 'int64',
                    'index': 'int64', 'task_index': 'int64'}
INFO = {'codebase_version', 'fps', 'features', 'total_episodes', 'total_frames', 'total_tasks',
        'chunks_size', 'data_files_size_in_mb', 'video_files_size_in_mb', 'data_path',
        'video_path', 'robot_type', 'splits'}
STATISTICS = {'min', 'max', 'mean', 'std', 'count', 'q01', 'q10', 'q50', 'q90', 'q99'}


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp('recorded') / 'demonstrations'
    assert main(['--record', str(folder), '--episodes', '3']) == 0
    return folder


def test_a_recorded_dataset_has_the_published_schema(recorded):
    info = json.loads((recorded / 'meta/info.json').read_text())
    assert set(info) == INFO and info['codebase_version'] == 'v3.0'
    kinds = {name: feature['dtype'] for name, feature in info['features'].items()}
    assert DEFAULT_FEATURES.items() <= kinds.items()
    assert all({'dtype', 'shape', 'names'} <= set(f) for f in info['features'].values())
    episodes = parquet.read_table(recorded / 'meta/episodes/chunk-000/file-000.parquet')
    rows = episodes.to_pylist()
    end = 0
    for index, row in enumerate(rows):
        assert row['episode_index'] == index and row['dataset_from_index'] == end
        end = row['dataset_to_index']
        assert row['length'] == end - row['dataset_from_index']
        assert row['tasks'] == [ALL_TASKS[index].instruction]
        path = info['data_path'].format(chunk_index=row['data/chunk_index'],
                                        file_index=row['data/file_index'])
        frames = parquet.read_table(recorded / path)
        mine = frames.filter(compute.equal(frames['episode_index'], index)).to_pydict()
        assert mine['frame_index'] == list(range(row['length']))
        assert mine['index'] == list(range(row['dataset_from_index'], end))
        np.testing.assert_allclose(mine['timestamp'],
                                   np.arange(row['length']) / info['fps'], atol=1e-4)
    assert (info['total_episodes'], info['total_frames']) == (len(rows), end)
    assert info['splits'] == {'train': f'0:{len(rows)}'}
    for name, feature in info['features'].items():
        column = frames.schema.field(name).type
        if feature['dtype'] == 'image':
            assert column == pa.struct([('bytes', pa.binary()), ('path', pa.string())])
        elif feature['shape'] == [1]:
            assert column == {'float32': pa.float32(), 'int64': pa.int64()}[feature['dtype']]
        else:
            assert column == pa.list_(pa.float32(), feature['shape'][0])
    tasks = parquet.read_table(recorded / 'meta/tasks.parquet')
    pandas = json.loads(tasks.schema.metadata[b'pandas'])
    assert pandas['index_columns'] == ['task'] and tasks['task_index'].to_pylist() == [0, 1, 2]
    statistics = json.loads((recorded / 'meta/stats.json').read_text())
    assert set(statistics) == set(info['features'])
    assert all(set(values) == STATISTICS for values in statistics.values())
    assert np.shape(statistics['observation.images.camera']['mean']) == (3, 1, 1)
    assert {f'stats/action/{name}' for name in STATISTICS} <= set(episodes.column_names)


def test_a_recorded_dataset_can_be_read(recorded):
    dataset = LeRobotDataset(recorded)
    assert dataset.episode_count == 3 and dataset.name == 'demonstrations'
    assert dataset[0].instruction == ALL_TASKS[0].instruction
    last = dataset[len(dataset) - 1]
    assert last.instruction == ALL_TASKS[2].instruction
    assert last.image.shape == (224, 224, 3) and last.image.std() > 10
    assert last.action.shape == (7,) and np.array_equal(last.action, dataset.actions[-1])
    # The actions are the expert's, not those with noise that moved the arm.
    assert 0 <= dataset.actions[:, 6].min() and dataset.actions[:, 6].max() <= 0.04 + 1e-6


def test_a_dataset_of_version_2_1_is_read_and_normalized(tmp_path):
    dataset = LeRobotDataset(write_v21(tmp_path / 'mine'))
    assert [dataset[i].instruction for i in range(4)] == ['wave', 'wave', 'stop', 'stop']
    assert dataset[3].image[0, 0].tolist() == [10, 1, 7] and dataset[3].image.shape == (4, 6, 3)
    statistics = action_statistics(dataset)['mine']
    assert statistics['num_trajectories'] == 2 and statistics['num_transitions'] == 4
    scale = ActionStatistics.from_dataset(statistics)
    # The second number is constant, and is restored.
    np.testing.assert_allclose(scale.unnormalize(scale.normalize(dataset.actions)),
                               dataset.actions, atol=0.03)
    assert np.isfinite(scale.normalize(dataset.actions)).all()


def test_an_unsupported_version_is_refused(tmp_path):
    with pytest.raises(DatasetError, match='not one of v2.0, v2.1, v3.0'):
        LeRobotDataset(write_v21(tmp_path / 'mine', version='v1.6'))


def test_an_unreadable_video_is_named_with_its_frame(tmp_path):
    pytest.importorskip('av', reason='av is not installed')
    dataset = LeRobotDataset(write_v21(tmp_path / 'mine', kind='video'))
    with pytest.raises(DatasetError, match='frame 2 of observation.image: .*episode_000001.mp4: '
                                           'it cannot be read as a video'):
        dataset[2]
