# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""However a batch is divided, over time or over processes, the same is learnt."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip('vla_ros.sim.world')

from vla_ros.errors import ParameterError  # noqa: E402
from vla_ros.training.loop import Training  # noqa: E402
from vla_ros.training.loop import TrainingPlan  # noqa: E402
from vla_ros.training.samples import make_sampler  # noqa: E402
from vla_ros.training.samples import Samples  # noqa: E402
from vla_ros.training.shards import save_arrays  # noqa: E402
from vla_ros.training.team import Team  # noqa: E402

PLAN = TrainingPlan(steps=3, batch=8, samples=500, learning_rate=1e-3)


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    transform = Training(PLAN, tmp_path_factory.mktemp('transform')).transform
    return Samples.join(list(make_sampler(transform).draw_many(range(10))))


def curve(samples, folder, team):
    training = Training(PLAN, folder, team=team)
    training.run(samples, lambda step, losses: None)
    return table(training.curve)


def table(rows):
    return np.array([list(row.values()) for row in rows])


@pytest.fixture(scope='module')
def whole(samples, tmp_path_factory):
    return curve(samples, tmp_path_factory.mktemp('whole'), Team())


def test_an_accumulated_batch_is_the_whole_batch(tmp_path, samples, whole):
    parts = curve(samples, tmp_path, Team(accumulate=4))
    np.testing.assert_allclose(parts, whole, rtol=2e-4, atol=1e-5)


def test_two_processes_learn_what_one_does(tmp_path, samples, whole):
    (tmp_path / 'data').mkdir()
    save_arrays(tmp_path / 'data' / 'part_000.npz', vars(samples))
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
         '-m', 'vla_ros.tools.train', '--out', str(tmp_path / 'out'),
         '--data', str(tmp_path / 'data'), '--samples', '500', '--steps', '3', '--batch', '8',
         '--learning-rate', '1e-3', '--threads', '1', '--device', 'cpu'],
        env={**os.environ, 'GLOO_SOCKET_IFNAME': 'lo'}, capture_output=True, text=True,
        timeout=120)
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / 'out' / 'training_state.pt', weights_only=True)
    np.testing.assert_allclose(table(state['curve']), whole, rtol=2e-4, atol=1e-5)
    assert done.stdout.count('step 3/3') == 1


def test_bfloat16_computes_nearly_the_same(tmp_path, samples, whole):
    mixed = curve(samples, tmp_path, Team(precision='bf16'))
    assert not np.array_equal(mixed, whole)
    np.testing.assert_allclose(mixed[:, :3], whole[:, :3], rtol=0.05)


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path):
    with pytest.raises(ParameterError, match='a multiple of 6'):
        Training(PLAN, tmp_path, team=Team(size=2, accumulate=3))
