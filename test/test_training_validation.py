# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Validation, early stopping, augmentation and merging of a fine-tuning."""

from dataclasses import replace
import json

import numpy as np
import pytest
from safetensors.torch import load_file
import torch

tracking = pytest.importorskip('accelerate.tracking')
pytest.importorskip('pyarrow')
pytest.importorskip('peft')
pytest.importorskip('vla_ros.worlds.world')

from vla_ros.cli.train import main  # noqa: E402
from vla_ros.data.actions import ActionTokenizer  # noqa: E402
from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.errors import ParameterError  # noqa: E402
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.augmentation import augment  # noqa: E402
from vla_ros.training.finetuning import FineTuning  # noqa: E402
from vla_ros.training.finetuning import FineTuningPlan  # noqa: E402
from vla_ros.training.record import Demonstration  # noqa: E402
from vla_ros.training.record import write_dataset  # noqa: E402
from vla_ros.training.validation import best_step  # noqa: E402
from vla_ros.training.validation import CRITERION  # noqa: E402
from vla_ros.training.validation import is_stalled  # noqa: E402
from vla_ros.training.validation import split_episodes  # noqa: E402
from vla_ros.training.validation import sum_errors  # noqa: E402

PLAN = FineTuningPlan(steps=6, batch=4, rank=4, learning_rate=5e-3, augment=True,
                      validation=0.3, validate_every=2)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """Write three episodes of random images."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp('data') / 'three_episodes'
    write_dataset(folder, iter([
        Demonstration('wave', rng.integers(0, 256, (length, 48, 64, 3), np.uint8),
                      np.zeros((length, 7), np.float32),
                      rng.normal(size=(length, 7)).astype(np.float32))
        for length in (3, 4, 5)]))
    return LeRobotDataset(folder)


@pytest.fixture
def base(golden_checkpoints):
    return open_checkpoint(str(golden_checkpoints['float32']))


def curve_of(errors):
    """Return a curve in which every second step was validated."""
    return [row for error in errors
            for row in ({'action': 1.0}, {'action': 1.0, CRITERION: error})]


def test_validation_holds_out_whole_episodes():
    split = split_episodes([3, 4, 5], 0.3, 0)
    assert sorted([*split.train, *split.validation]) == list(range(12))
    assert len(split.validation) in (3, 4, 5) and np.ptp(split.validation) < 5
    assert [*split_episodes([3, 4, 5], 0.3, 0).validation] == [*split.validation]
    assert len({split_episodes([3, 4, 5], 0.3, seed).validation[0] for seed in range(9)}) > 1
    assert len(split_episodes([3], 0.0, 0).validation) == 0
    assert len(split_episodes([1] * 5, 0.99, 0).train) == 1
    with pytest.raises(ParameterError, match='the dataset has 1 episode'):
        split_episodes([3], 0.1, 0)


def test_unused_frames_are_in_neither_part_of_the_split():
    used = np.array([True] * 3 + [False] * 4 + [True, False, True, True, True])
    split = split_episodes([3, 4, 5], 0.5, 0, used)
    assert sorted([*split.train, *split.validation]) == np.flatnonzero(used).tolist()
    assert {*split.train} in ({0, 1, 2}, {7, 9, 10, 11})
    with pytest.raises(ParameterError, match='the dataset has 1 episode'):
        split_episodes([3, 4, 5], 0.5, 0, np.arange(12) < 3)


def test_validation_errors_count_action_tokens_only():
    tokenizer = ActionTokenizer(1000, 256)
    actions = np.array([-0.5, 0.0, 0.5])
    correct = np.array([*tokenizer.encode(actions), 2])
    predicted = correct.copy()
    predicted[0], predicted[3] = tokenizer.encode([0.5])[0], 7
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 1064).float()
    errors = sum_errors(logits, torch.tensor(correct), tokenizer)
    assert errors['count'] == 3 and errors['accuracy'] == 2
    assert errors['l1'] == pytest.approx(1.0, abs=0.01)


def test_a_validation_without_improvement_for_the_patience_is_stalled():
    curve = curve_of([0.5, 0.3, 0.4, 0.35])
    assert best_step(curve) == 4 and best_step(curve[:1]) is None
    assert is_stalled(curve, 2) and not is_stalled(curve, 3)
    with pytest.raises(ParameterError, match='early stopping needs held-out episodes'):
        FineTuningPlan(patience=2)


def test_early_stopping_ends_the_training_and_keeps_the_best_adapter(
        base, dataset, tmp_path, monkeypatch):
    errors = iter([0.5, 0.3, 0.4, 0.6, 0.7])
    monkeypatch.setattr(FineTuning, 'validate', lambda self: {CRITERION: next(errors)})
    tuning = FineTuning(replace(PLAN, steps=20, patience=2), base, dataset, tmp_path,
                        make_accelerator())
    written = []

    def keep(step, losses):
        if step == 5:  # two validations of four were made
            written.append(load_file(tmp_path / 'adapter_model.safetensors'))
    tuning.run(keep)
    assert tuning.step == 8 and 'Step 4 of 4' in (tmp_path / 'README.md').read_text()
    best = load_file(tmp_path / 'adapter_model.safetensors')
    assert all(torch.equal(best[name], tensor) for name, tensor in written[0].items())


def test_only_the_adapter_is_trained_and_held_out_frames_are_not_read(base, dataset, tmp_path):
    class Rows:
        """The dataset, which keeps the indices of the frames that are read."""

        def __init__(self):
            self.read = []

        def __getattr__(self, name):
            return getattr(dataset, name)

        def __len__(self):
            return len(dataset)

        def __getitem__(self, index):
            self.read.append(index)
            return dataset[index]

    class Log(tracking.GeneralTracker):
        name, requires_logging_directory, tracker = 'log', False, None

        def __init__(self):
            super().__init__()
            self.rows = []

        def store_init_configuration(self, values):
            self.plan = values

        def log(self, values, step):
            self.rows.append((step, values))

    rows, log = Rows(), Log()
    tuning = FineTuning(PLAN, base, rows, tmp_path, make_accelerator(tracker=log),
                        gradient_checkpointing=True)
    frozen = {name: p.detach().clone() for name, p in tuning.vla.named_parameters()
              if 'lora_' not in name}
    assert len(frozen) > 20
    rows.read.clear()
    tuning._advance()
    assert rows.read and not set(rows.read) & set(tuning.split.validation.tolist())
    tuning = FineTuning(PLAN, base, dataset, tmp_path, make_accelerator(tracker=log))
    tuning.run(lambda step, losses: None)
    now = dict(tuning.vla.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in frozen.items())
    assert any(p.any() for name, p in now.items() if 'lora_B' in name)
    assert [step for step, row in log.rows if CRITERION in row] == [2, 4, 6]
    assert log.plan['rank'] == 4 and len(log.rows) == 6


def test_gradient_checkpointing_gives_the_same_losses(base, dataset, tmp_path):
    curves = []
    for name, recompute in (('plain', False), ('recomputed', True)):
        tuning = FineTuning(replace(PLAN, steps=2), base, dataset, tmp_path / name,
                            make_accelerator(), recompute)
        tuning.run(lambda step, losses: None)
        curves.append([row['action'] for row in tuning.curve])
    assert tuning.vla.language_model.model.layers[0].gradient_checkpointing
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_augmentation_crops_and_changes_colours_by_its_seed():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 50:] = (200, 100, 50)
    shown = [augment(image, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert shown[0].dtype == np.uint8 and shown[0].shape == image.shape
    assert np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[0], shown[2])
    # The crop keeps 0.9 of the area, so the edge is in the middle by 5 % of the width.
    rows = [augment(image, np.random.default_rng(seed))[50].astype(int) for seed in range(20)]
    edges = {int(np.abs(np.diff(row, axis=0)).sum(1).argmax()) for row in rows}
    assert len(edges) > 3 and min(edges) >= 44 and max(edges) <= 55


def test_a_merged_checkpoint_gives_the_actions_of_adapter_and_base(base, dataset, tmp_path,
                                                                   capsys):
    folder = str(base.folder)
    assert main(['--finetune', folder, '--dataset', str(dataset.folder), '--decoders', '0',
                 '--out',
                 str(tmp_path / 'adapter'), '--lora-rank', '4', '--steps', '4', '--batch', '4',
                 '--learning-rate', '5e-3', '--threads', '1', '--device', 'cpu', '--validation',
                 '0.3', '--validate-every', '2', '--augment']) == 0
    assert 'validation_l1' in capsys.readouterr().out
    card = (tmp_path / 'adapter' / 'README.md').read_text()
    assert 'center_crop' in card and '| validation | 0.3 |' in card and 'validation l1' in card
    merge = ['--merge', str(tmp_path / 'adapter'), '--finetune', folder, '--out',
             str(tmp_path / 'merged')]
    assert main(merge) == 0
    settings = {'device': 'cpu', 'warmup': False, 'clip_invalid': True,
                'unnorm_key': 'three_episodes'}
    seen = Observation((dataset[0].image,), 'wave')
    merged = load_policy(PolicyConfig(str(tmp_path / 'merged'), **settings)).infer(seen)
    unmerged = load_policy(PolicyConfig(folder, adapters={'a': str(tmp_path / 'adapter')},
                                        **settings)).infer(seen)
    assert merged.token_ids == unmerged.token_ids
    assert np.array_equal(merged.actions, unmerged.actions)
    config = json.loads((tmp_path / 'merged' / 'config.json').read_text())
    assert set(base.norm_stats) < set(config['norm_stats'])
    capsys.readouterr()
    assert main(merge) == 2
    assert 'holds files, which would be overwritten' in capsys.readouterr().err
    assert main(['--merge', 'x']) == 2
    assert 'the checkpoint that the adapter was trained on' in capsys.readouterr().err
    assert main(['--augment', '--out', 'x', '--data', 'y']) == 2
    assert '--augment belongs to --dataset' in capsys.readouterr().err
