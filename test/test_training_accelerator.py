# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Training does not depend on the division of a batch, over time or over processes."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip('accelerate')
pytest.importorskip('vla_ros.worlds.world')

from vla_ros.data.lerobot_metadata import DatasetError  # noqa: E402
from vla_ros.errors import ParameterError  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.loop import Training  # noqa: E402
from vla_ros.training.loop import TrainingPlan  # noqa: E402
from vla_ros.training.resumable import TrainingError  # noqa: E402
from vla_ros.training.samples import make_sampler  # noqa: E402
from vla_ros.training.samples import Samples  # noqa: E402
from vla_ros.training.shards import draw_samples  # noqa: E402
from vla_ros.training.shards import save_arrays  # noqa: E402

PLAN = TrainingPlan(steps=3, batch=8, samples=500, learning_rate=1e-3)


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    transform = Training(PLAN, tmp_path_factory.mktemp('transform'),
                         make_accelerator()).transform
    return Samples.join(list(make_sampler(transform).draw_many(range(10))))


def train_curve(samples, folder, accelerator):
    training = Training(PLAN, folder, accelerator)
    training.run(samples, lambda step, losses: None)
    return to_array(training.curve)


def to_array(rows):
    return np.array([list(row.values()) for row in rows])


@pytest.fixture(scope='module')
def whole(samples, tmp_path_factory):
    return train_curve(samples, tmp_path_factory.mktemp('whole'), make_accelerator())


def test_accumulated_microbatches_give_the_curve_of_the_whole_batch(tmp_path, samples, whole):
    accumulated = train_curve(samples, tmp_path, make_accelerator(accumulate=4))
    np.testing.assert_allclose(accumulated, whole, rtol=2e-4, atol=1e-5)


def test_a_training_resumes_with_another_number_of_microbatches(tmp_path, samples, whole):
    def interrupt(step, losses):
        training.save()
        raise KeyboardInterrupt
    training = Training(PLAN, tmp_path, make_accelerator())
    with pytest.raises(KeyboardInterrupt):
        training.run(samples, interrupt)
    resumed = train_curve(samples, tmp_path, make_accelerator(accumulate=4))
    np.testing.assert_allclose(resumed, whole, rtol=2e-4, atol=1e-5)
    (tmp_path / 'training_state' / 'step_3' / 'trained.safetensors').unlink()
    with pytest.raises(TrainingError, match='belongs to no state in training_state'):
        Training(PLAN, tmp_path, make_accelerator())


def test_two_processes_give_the_curve_of_one(tmp_path, samples, whole):
    (tmp_path / 'data').mkdir()
    save_arrays(tmp_path / 'data' / 'part_000.npz', vars(samples))
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
         '-m', 'vla_ros.cli.train', '--out', str(tmp_path / 'out'),
         '--data', str(tmp_path / 'data'), '--samples', '500', '--steps', '3', '--batch', '8',
         '--learning-rate', '1e-3', '--threads', '1', '--device', 'cpu'],
        env={**os.environ, 'GLOO_SOCKET_IFNAME': 'lo'}, capture_output=True, text=True,
        timeout=600)
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / 'out' / 'training_state.pt', weights_only=True)
    np.testing.assert_allclose(to_array(state['curve']), whole, rtol=2e-4, atol=1e-5)
    assert done.stdout.count('step 3/3') == 1


def test_samples_of_an_earlier_version_are_named(tmp_path, samples):
    arrays = dict(vars(samples))
    arrays['places'] = arrays.pop('keypoints')
    save_arrays(tmp_path / 'part_000.npz', arrays)
    with pytest.raises(DatasetError, match='part_000.npz has no keypoints'):
        draw_samples(tmp_path, 500, None, print)


def test_bfloat16_gives_nearly_the_same_losses(tmp_path, samples, whole):
    mixed = train_curve(samples, tmp_path, make_accelerator(precision='bf16'))
    assert not np.array_equal(mixed, whole)
    np.testing.assert_allclose(mixed[:, :3], whole[:, :3], rtol=0.05)


def test_a_batch_that_processes_cannot_share_equally_is_refused(tmp_path):
    with pytest.raises(ParameterError, match='a multiple of 6'):
        Training(PLAN, tmp_path, SimpleNamespace(
            num_processes=2, process_index=0, gradient_accumulation_steps=3))
