# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A shipped checkpoint can be loaded, and its card describes its training and results."""

import json

import numpy as np
import pytest

pytest.importorskip('accelerate')
pytest.importorskip('vla_ros.worlds.world')

from vla_ros.cli.train import main  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.loop import Training  # noqa: E402
from vla_ros.training.loop import TrainingPlan  # noqa: E402
from vla_ros.worlds.outcomes import Episode  # noqa: E402
from vla_ros.worlds.outcomes import score  # noqa: E402
from vla_ros.worlds.tasks import ALL_TASKS  # noqa: E402


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    training = Training(TrainingPlan(), tmp_path_factory.mktemp('trained'), make_accelerator())
    training.curve.append({'action': 1.0, 'accuracy': 0.5})
    training.save()
    return training.folder


@pytest.fixture
def results(tmp_path):
    tasks = [(10000 + n, ALL_TASKS[n % 12]) for n in range(24)]
    episodes = [Episode(seed, task, task.color if (seed - 10000) % 3 else '', 1.0)
                for seed, task in tasks]
    path = tmp_path / 'eval.json'
    path.write_text(json.dumps(score(episodes)))
    return path


def ship(trained, out, results):
    return main(['--ship', str(trained), '--out', str(out), '--eval', str(results),
                 '--commands', 'vla_train --out c\nvla_train --dagger 3', '--took', '2 h'])


def test_a_shipped_checkpoint_infers_and_its_card_names_its_training(tmp_path, trained, results):
    out = tmp_path / 'shipped'
    assert ship(trained, out, results) == 0
    card = (out / 'README.md').read_text()
    assert '    vla_train --out c\n    vla_train --dagger 3\n\nIt took 2 h on ' in card
    assert '| reach | 8 | 4 | 50.0 % | 21.5 to 78.5 % |' in card
    assert 'seeds 10000 to 10023' in card and 'million weights' in card
    assert not (out / 'training_state.pt').exists()
    policy = load_policy(PolicyConfig(str(out), device='cpu', clip_invalid=True, warmup=False))
    image = np.zeros((224, 224, 3), np.uint8)
    assert policy.infer(Observation((image,), 'reach the red block')).actions.shape == (1, 7)


def test_results_of_another_program_than_vla_eval_are_refused(tmp_path, trained, results, capsys):
    results.write_text('{"rows": [{"task": "reach"}]}')
    assert ship(trained, tmp_path / 'shipped', results) == 2
    assert 'not what vla_eval --json prints' in capsys.readouterr().err
    assert not (tmp_path / 'shipped').exists()
