# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_dataset check`` reports each fault of a dataset, whoever wrote it."""

import numpy as np
import pytest

pytest.importorskip('pyarrow', reason='pyarrow is not installed')
pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('mcap_ros2', reason='mcap-ros2-support is not installed')

from vla_ros.cli.dataset import main  # noqa: E402
from vla_ros.data.lerobot_writer import DatasetLayout  # noqa: E402
from vla_ros.data.lerobot_writer import EpisodeNumbers  # noqa: E402
from vla_ros.data.lerobot_writer import LeRobotWriter  # noqa: E402

COUNT = 20


def write_dataset(folder, change):
    """Write an episode with a fault: a function that changes states, actions and images."""
    times = np.arange(COUNT)[:, None]
    states = np.concatenate([np.sin(times / 5), times / 40], 1).astype(np.float32)
    actions, shown = states + 0.01, np.arange(COUNT)
    change(states, actions, shown)
    folder.mkdir()
    writer = LeRobotWriter(folder, DatasetLayout(
        {'camera': (48, 64)}, ('a', 'b'), ('a', 'b'), 10.0, storage='images'))
    for number in shown:
        writer.add_image('camera', np.full((48, 64, 3), 20 + 10 * number, np.uint8))
    writer.save_episode(EpisodeNumbers(['wave'] * COUNT, states, actions, np.zeros(COUNT, bool)))
    writer.close()
    return str(folder)


def no_fault(states, actions, shown):
    pass


def nan_action(states, actions, shown):
    actions[7, 1] = np.nan


def infinite_state(states, actions, shown):
    states[[4, 5], 0] = np.inf


def frozen_camera(states, actions, shown):
    shown[5:15] = 5


def frozen_at_rest(states, actions, shown):
    shown[5:15] = 5
    states[5:15] = states[5]


@pytest.mark.parametrize(('change', 'finding'), [
    (no_fault, ''), (frozen_at_rest, ''),
    (nan_action, 'error: not-finite: .* action of frame 7 is not finite'),
    (infinite_state, 'error: not-finite: the state of frame 4 is not finite, 2 frames in all'),
    (frozen_camera, 'error: frozen: episode 0: the images of observation.images.camera repeat')])
def test_a_fault_of_a_dataset_is_reported(tmp_path, capsys, change, finding):
    import re
    status = main(['check', write_dataset(tmp_path / 'data', change)])
    out = capsys.readouterr().out
    assert status == (1 if finding else 0), out
    assert re.search(finding, out), out
