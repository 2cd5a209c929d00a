# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Two checkpoints are compared by pairs of episodes, with a confidence interval for pairs."""

import json
import subprocess
import sys

import pytest

from vla_ros.cli.eval import main
from vla_ros.evaluation.comparison import compare
from vla_ros.evaluation.comparison import compare_rows
from vla_ros.evaluation.comparison import ContingencyTable
from vla_ros.evaluation.comparison import mcnemar_p
from vla_ros.evaluation.comparison import paired_interval
from vla_ros.evaluation.pair import shipped_folder


# The first is an example of Newcombe's paper, the second one of M. W. Fagerland et al.,
# "Recommended tests and confidence intervals for paired binomial proportions" (2014).
@pytest.mark.parametrize('cells, low, high, p', [
    (ContingencyTable(36, 12, 2, 0), 0.0569, 0.3404, 2 * (1 + 14 + 91) / 2**14),
    (ContingencyTable(1, 1, 7, 12), -0.507, -0.026, 2 * (1 + 8) / 2**8)])
def test_interval_and_p_value_equal_published_ones(cells, low, high, p):
    assert paired_interval(cells) == pytest.approx((low, high), abs=1e-3)
    assert mcnemar_p(cells) == pytest.approx(p)
    # With the checkpoints swapped, the interval is mirrored.
    mirrored = ContingencyTable(cells.both, cells.only_second, cells.only_first, cells.neither)
    assert paired_interval(mirrored) == pytest.approx((-high, -low), abs=1e-3)


@pytest.mark.parametrize('cells', [
    ContingencyTable(both=54), ContingencyTable(neither=3), ContingencyTable(only_first=1),
    ContingencyTable(only_second=30), ContingencyTable(1, 1, 1, 1)])
def test_extreme_counts_have_an_interval_around_the_difference(cells):
    low, high = paired_interval(cells)
    assert -1 <= low <= cells.difference <= high <= 1 and high - low > 0.05
    assert 0 < mcnemar_p(cells) <= 1


def test_episodes_are_paired_by_task_and_number():
    first = {('reach', 1): True, ('push', 2): True, ('reach', 3): False, ('push', 4): True}
    second = {('push', 4): False, ('reach', 3): False, ('push', 2): True, ('reach', 1): False}
    result = compare(first, second)
    assert [row['task'] for row in result['rows']] == ['reach', 'push']
    whole = result['all']
    assert [whole[name] for name in ('both', 'only_first', 'only_second', 'neither')] == [
        1, 2, 0, 1]
    assert whole['difference'] == 0.5 and whole['p'] == 0.5
    assert '+50.0 points' in compare_rows(result)[-1]
    with pytest.raises(ValueError, match='not the same'):
        compare(first, {('reach', 1): True})


def test_a_missing_checkpoint_is_reported_before_the_first_episode(capsys):
    assert main(['--against', '/nowhere']) == 2
    assert 'checkpoint /nowhere: no such folder' in capsys.readouterr().err


def test_both_checkpoints_run_the_same_episodes():
    for name in ('rclpy', 'mujoco', 'torch', 'vla_ros_msgs'):
        pytest.importorskip(name, reason=f'needs {name}')
    if not (shipped_folder() / 'model.safetensors').is_file():
        pytest.skip('no trained checkpoint comes with the package')
    done = subprocess.run(
        [sys.executable, '-m', 'vla_ros.cli.eval', '--episodes', '1', '--task', 'reach', '--jobs',
         '1', '--json', '--against', str(shipped_folder())],
        capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    seeds = [[episode['seed'] for episode in result['episodes']] for result in found['results']]
    assert seeds == [[10000], [10000]]
    whole = found['difference']['all']
    # The shipped checkpoint reaches this block both times.
    assert (whole['both'], whole['episodes'], whole['difference']) == (1, 1, 0.0)
