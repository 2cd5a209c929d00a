# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Success rates have a confidence interval, and the wrong block is a failure."""

import pytest

from vla_ros.cli.eval import main
from vla_ros.cli.eval import plan_episodes
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.outcomes import score
from vla_ros.worlds.outcomes import wilson_interval
from vla_ros.worlds.tasks import Task


# Values of the formula by hand, and the textbook value of 0 of 10.
@pytest.mark.parametrize('successes, episodes, low, high', [
    (0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (95, 100, 0.8882, 0.9785), (0, 0, 0.0, 1.0)])
def test_the_wilson_interval_equals_published_values(successes, episodes, low, high):
    assert wilson_interval(successes, episodes) == pytest.approx((low, high), abs=1e-4)


def test_the_wrong_block_and_no_block_are_failures():
    red = Task('push', 'red')
    result = score([Episode(1, red, 'red', 2.0), Episode(2, red, 'blue', 2.0),
                    Episode(3, red, '', 15.0)])
    row = result['rows'][0]
    assert (row['task'], row['episodes'], row['successes'], row['wrong']) == ('push', 3, 1, 1)
    assert [episode['success'] for episode in result['episodes']] == [True, False, False]


def test_a_plan_has_each_task_equally_often():
    plan = plan_episodes(24, 10000, None)
    assert [seed for seed, _ in plan] == list(range(10000, 10024))
    assert all(sum(other == task for _, other in plan) == 2 for _, task in plan)
    assert {task.kind for _, task in plan_episodes(5, 0, 'push')} == {'push'}


@pytest.mark.parametrize('arguments, problem', [
    (['--seed', '-5'], '--seed: got -5, it must be a whole number from 0 to'),
    (['--seed', str(2**63)], f'--seed: got {2**63}, it must be'),
    (['--episodes', '0'], '--episodes: got 0, it must be at least 1'),
    (['--speed', 'fast'], "--speed: got 'fast', it must be auto or a number"),
    (['--speed', '0'], '--speed: got 0.0, it must be auto or a number from 0.01')])
def test_invalid_numbers_for_an_evaluation_are_refused(arguments, problem, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'vla_eval: {problem}')
