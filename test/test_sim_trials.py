# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Episodes over DDS with the real node: the scripted expert, and the shipped checkpoint."""

import json
import os
from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vla_ros.worlds.world', reason='needs mujoco')
pytest.importorskip('vla_ros_msgs', reason='needs vla_ros_msgs: colcon build --base-paths . msg')

from expert_pair import expert_pair  # noqa: E402, I100

from vla_ros.cli.eval import main  # noqa: E402
from vla_ros.cli.eval import plan_episodes  # noqa: E402
from vla_ros.evaluation.episodes import EpisodeRunner  # noqa: E402
from vla_ros.evaluation.pair import shipped_folder  # noqa: E402
from vla_ros.transport.local_environment import demo_environment  # noqa: E402

ENVIRONMENT = {**os.environ, **demo_environment(os.environ)}
#: Two episodes of each kind, with all colours.
PLAN = [plan_episodes(12, 1000, None)[index] for index in (0, 3, 5, 6, 8, 10)]


def test_the_expert_fulfils_every_task_through_the_node(tmp_path):
    runner = EpisodeRunner(expert_pair(speed=8.0), PLAN, lambda episode: None)
    runner.run(1, tmp_path / 'logs', ENVIRONMENT)
    assert sum(episode.succeeded for episode in runner.episodes) == 6
    assert [episode.decided for episode in runner.episodes] == [
        episode.task.color for episode in runner.episodes]
    # An inference takes 0.08 s of simulated time at any real-time factor.
    assert 0.07 < np.median(runner.ages) < 0.3


def test_the_shipped_checkpoint_reaches_the_named_blocks():
    if not (shipped_folder() / 'model.safetensors').is_file():
        pytest.skip('no trained checkpoint comes with the package')
    pytest.importorskip('torch', reason='needs torch: the real policy')
    done = subprocess.run(
        [sys.executable, '-m', 'vla_ros.cli.eval', '--episodes', '4', '--task', 'reach',
         '--jobs', '1', '--json'], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (row,) = result['rows']
    assert row['episodes'] == 4 and row['successes'] >= 3
    assert sum(sum(counts.values()) for counts in result['confusion'].values()) == 4
    # The p99 depends on the load of the machine.
    assert 0.0 < result['age_s']['p50'] < 0.3


def test_the_error_of_a_failed_node_names_the_file_of_its_output(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    assert main(['--checkpoint', '/nowhere', '--episodes', '1']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    log = re.search(r'\(its output: (.*)\)', line)[1]
    assert 'checkpoint /nowhere: no such folder' in line
    assert 'checkpoint /nowhere: no such folder' in Path(log).read_text()
