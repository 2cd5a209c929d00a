# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Bags are converted to LeRobot datasets with the frames of the contract."""

import json

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('mcap_ros2', reason='mcap-ros2-support is not installed')
pytest.importorskip('pyarrow', reason='pyarrow is not installed')
pytest.importorskip('vla_ros_msgs', reason='vla_ros_msgs is not built')
from bag_maker import FRONT  # noqa: E402, I100
from bag_maker import pixels  # noqa: E402
from bag_maker import position  # noqa: E402
from bag_maker import START  # noqa: E402
from bag_maker import STATE  # noqa: E402
from bag_maker import WRIST  # noqa: E402
from bag_maker import write_bag  # noqa: E402
from vla_ros.cli.dataset import main  # noqa: E402
from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.recording.bag_reader import Bag  # noqa: E402
from vla_ros.recording.episode_plan import contract_of  # noqa: E402
from vla_ros.recording.episode_plan import plan_episode  # noqa: E402

FRONT_FEATURE, WRIST_FEATURE = 'observation.images.front', 'observation.images.wrist'


def convert(tmp_path, *bags, **options):
    """Convert bags, and open the resulting dataset."""
    arguments = [argument for name, value in options.items() for argument in (f'--{name}', value)]
    assert main(['convert', *map(str, bags), '--out', str(tmp_path / 'out'), *arguments]) == 0
    return LeRobotDataset(tmp_path / 'out')


def test_a_dataset_has_the_images_states_actions_and_instructions_of_its_bags(tmp_path):
    bags = [write_bag(tmp_path / 'one'), write_bag(tmp_path / 'two', 2.0, 'wave')]
    dataset = convert(tmp_path, *bags, storage='images')
    assert dataset.episode_count == 2 and dataset.metadata.fps == 10
    assert dataset.cameras == (FRONT_FEATURE, WRIST_FEATURE)
    assert dataset.action_names == ('joint_1', 'gripper')
    assert dataset[0].instruction == 'pick up the red block'
    assert dataset[len(dataset) - 1].instruction == 'wave'
    # The first image comes before the wrist's first one, and is no frame.
    for row in (0, 5, 20):
        number = 3 * row + 3
        seconds = number / 30
        np.testing.assert_array_equal(dataset.image(row, FRONT_FEATURE), pixels(FRONT, number))
        # The wrist's image of the same number is stamped 5 ms later: the one before is held.
        np.testing.assert_array_equal(dataset.image(row, WRIST_FEATURE),
                                      pixels(WRIST, number - 1))
        np.testing.assert_allclose(dataset.actions[row], np.add(position(seconds), 0.01),
                                   atol=1e-6)
        held = (seconds * 1e3 + 2) // 10 * 10 - 2
        np.testing.assert_allclose(dataset.states[row], position(held * 1e-3), atol=1e-6)
    assert main(['check', str(tmp_path / 'out')]) == 0


def test_frames_of_a_takeover_are_tagged_and_counted(tmp_path, capsys):
    bags = [write_bag(tmp_path / 'one', takeovers=((0.95, 1.45), (2.05, 2.75))),
            write_bag(tmp_path / 'two', 2.0)]
    dataset = convert(tmp_path, *bags, storage='images')
    first, second = dataset.episode_rows
    # Ten frames a second; the first is the one at 0.1 s.
    tagged = [row for row in first if dataset.interventions[row]]
    assert tagged == [9, 10, 11, 12, 13, *range(20, 27)]
    assert not dataset.interventions[second.start:].any()
    assert dataset.interventions.dtype == bool
    assert main(['check', str(tmp_path / 'out'), str(tmp_path / 'one')]) == 0
    out = capsys.readouterr().out
    assert f'{len(tagged)} of {len(dataset)} frames, in 2 takeovers' in out
    assert f'{len(tagged)} of {len(first)} frames, in 2 takeovers' in out


@pytest.mark.parametrize('codec', ['h264', 'av1'])
def test_a_video_has_the_images_of_the_bag(tmp_path, codec):
    pytest.importorskip('av', reason='av is not installed')
    size = (96, 128)
    bags = [write_bag(tmp_path / name, 2.0, size=size) for name in ('one', 'two')]
    dataset = convert(tmp_path, *bags, storage=codec)
    info = json.loads((tmp_path / 'out/meta/info.json').read_text())
    assert info['features'][FRONT_FEATURE]['dtype'] == 'video'
    assert info['features'][FRONT_FEATURE]['info']['video.codec'] == codec
    length = dataset.metadata.episodes[0].length
    # Forwards, backwards, and across the border of the episodes, which share a file.
    for row in (0, 3, 4, length - 1, length, length + 5, 2, len(dataset) - 1):
        number = 3 * (row if row < length else row - length) + 3
        for camera, feature, shown in ((FRONT, FRONT_FEATURE, number),
                                       (WRIST, WRIST_FEATURE, number - 1)):
            expected = pixels(camera, shown, size).astype(float)
            found = dataset.image(row, feature).astype(float)
            others = [np.abs(pixels(camera, other, size) - found).mean()
                      for other in (shown - 3, shown + 3)]
            assert np.abs(found - expected).mean() < min(others) / 2, (row, feature)
    assert main(['check', str(tmp_path / 'out')]) == 0


def test_the_dataset_has_the_schema_of_lerobot_v3(tmp_path):
    pytest.importorskip('av', reason='av is not installed')
    from pyarrow import parquet
    convert(tmp_path, write_bag(tmp_path / 'bag', 2.0), storage='h264')
    meta = tmp_path / 'out/meta'
    info = json.loads((meta / 'info.json').read_text())
    assert info['codebase_version'] == 'v3.0'
    assert info['video_path'] == ('videos/{video_key}/chunk-{chunk_index:03d}/'
                                  'file-{file_index:03d}.mp4')
    row, = parquet.read_table(meta / 'episodes/chunk-000/file-000.parquet').to_pylist()
    for key in (FRONT_FEATURE, WRIST_FEATURE):
        assert row[f'videos/{key}/chunk_index'] == row[f'videos/{key}/file_index'] == 0
        assert row[f'videos/{key}/from_timestamp'] == 0.0
        assert row[f'videos/{key}/to_timestamp'] == pytest.approx(row['length'] / 10)
        assert (tmp_path / f'out/videos/{key}/chunk-000/file-000.mp4').is_file()
    statistics = json.loads((meta / 'stats.json').read_text())
    assert set(statistics) == set(info['features'])
    assert np.shape(statistics[FRONT_FEATURE]['mean']) == (3, 1, 1)
    assert 0 < statistics[FRONT_FEATURE]['mean'][0][0][0] < 1


def test_the_observations_of_the_node_are_those_of_the_dataset(tmp_path):
    bag = Bag(write_bag(tmp_path / 'bag', results=True))
    plan = plan_episode(bag, contract_of(bag))
    assert plan.compared >= 25 and plan.unlike == []
    first = plan.frames[0]
    assert first.stamp == START + 100_000_000 and first.images == (3, 2)


def test_an_observation_that_differs_from_the_nodes_is_reported(tmp_path):
    def late(topic, seconds, arrival, stamp, value):
        # One joint state reaches the recorder, though the node did without it.
        return (arrival, stamp + 5_000_000 if topic == STATE and 1 < seconds < 1.1 else stamp,
                value)
    bag = Bag(write_bag(tmp_path / 'bag', results=True, change=late))
    plan = plan_episode(bag, contract_of(bag))
    assert plan.unlike and 'joint_1: the node took the one stamped' in plan.unlike[0][1]
    assert main(['check', str(tmp_path / 'bag')]) == 1


def test_a_bag_without_an_instruction_is_left_out_and_named(tmp_path, capsys):
    good = write_bag(tmp_path / 'good', 2.0)
    mute = write_bag(tmp_path / 'mute', 2.0, instruction='')
    assert main(['convert', str(good), str(mute), '--out', str(tmp_path / 'out'),
                 '--storage', 'images']) == 1
    out = capsys.readouterr().out
    assert 'good: 19 frames' in out
    assert 'left out: bag ' in out and 'have no instruction; --instruction gives one' in out
    assert LeRobotDataset(tmp_path / 'out').episode_count == 1
    assert main(['convert', str(mute), '--out', str(tmp_path / 'given'), '--storage', 'images',
                 '--instruction', 'wave']) == 0
    assert LeRobotDataset(tmp_path / 'given')[0].instruction == 'wave'


def test_a_conversion_overwrites_no_file_and_leaves_none_after_a_failure(tmp_path, capsys):
    mine = tmp_path / 'out' / 'mine'
    mine.parent.mkdir()
    mine.touch()
    bag = write_bag(tmp_path / 'bag', 2.0)
    assert main(['convert', str(bag), '--out', str(tmp_path / 'out')]) == 2
    assert 'it must be a new or an empty folder' in capsys.readouterr().err
    mute = write_bag(tmp_path / 'mute', 2.0, instruction='')
    assert main(['convert', str(mute), '--out', str(tmp_path / 'none')]) == 2
    assert 'no episode is left' in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ['bag', 'mute', 'out']
