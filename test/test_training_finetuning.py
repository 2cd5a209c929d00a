# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Fine-tuning on a dataset: the official loss, and an adapter that the engine loads."""

from dataclasses import replace
import json
import sys

from loss_curves import assert_same_curve
import numpy as np
import pytest
import torch

pytest.importorskip('accelerate')
pytest.importorskip('pyarrow')
pytest.importorskip('peft')
pytest.importorskip('vla_ros.worlds.world')

from vla_ros.cli.train import main  # noqa: E402
from vla_ros.data.actions import ActionStatistics  # noqa: E402
from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.data.lerobot_writer import DatasetLayout  # noqa: E402
from vla_ros.data.lerobot_writer import EpisodeNumbers  # noqa: E402
from vla_ros.data.lerobot_writer import LeRobotWriter  # noqa: E402
from vla_ros.errors import CheckpointError  # noqa: E402
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.finetuning import FineTuning  # noqa: E402
from vla_ros.training.finetuning import FineTuningPlan  # noqa: E402
from vla_ros.training.record import Demonstration  # noqa: E402
from vla_ros.training.record import write_dataset  # noqa: E402
from vla_ros.training.resumable import TrainingError  # noqa: E402
from vla_ros.util.packages import install_command  # noqa: E402

PLAN = FineTuningPlan(steps=6, batch=4, rank=8, learning_rate=5e-3)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """Write two short episodes with instructions of different length."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp('data') / 'two_episodes'
    write_dataset(folder, iter([
        Demonstration(text, rng.integers(0, 256, (3, 48, 64, 3), np.uint8),
                      np.zeros((3, 7), np.float32), rng.normal(size=(3, 7)).astype(np.float32))
        for text in ('wave', 'pick up the cup and wave')]))
    return LeRobotDataset(folder)


@pytest.fixture(scope='module')
def with_takeovers(tmp_path_factory):
    """Write three episodes; half of the first and third are takeovers, none of the second."""
    folder = tmp_path_factory.mktemp('data') / 'taken_over'
    folder.mkdir()
    rng = np.random.default_rng(1)
    writer = LeRobotWriter(folder, DatasetLayout(
        {'camera': (48, 64)}, (), tuple('abcdefg'), 10.0, storage='images'))
    for tags in ([0, 0, 1, 1], [0, 0], [1, 0]):
        for _ in tags:
            writer.add_image('camera', rng.integers(0, 256, (48, 64, 3), np.uint8))
        writer.save_episode(EpisodeNumbers(
            ['wave'] * len(tags), None, rng.normal(size=(len(tags), 7)).astype(np.float32),
            np.array(tags, bool)))
    writer.close()
    return LeRobotDataset(folder)


def load(checkpoint, **settings):
    return load_policy(PolicyConfig(str(checkpoint), device='cpu', warmup=False,
                                    clip_invalid=True, **settings))


@torch.inference_mode()
def plain_loss(policy, dataset):
    """Compute the loss of all frames with the inference network, token by token in numpy."""
    network, llama = policy.engine.network, policy.engine.network.language_model
    low, high = np.quantile(dataset.actions, (0.01, 0.99), axis=0)
    scale = ActionStatistics(low, high, np.ones(7, bool))
    losses = []
    for index in range(len(dataset)):
        frame = dataset[index]
        text = f'In: What action should the robot take to {frame.instruction}?\nOut:'
        prompt = [*policy._tokenizer.encode(text), 29871]
        target = [*policy.action_tokenizer.encode(scale.normalize(frame.action)).tolist(), 2]
        pixels = torch.from_numpy(policy.image_processor(frame.image))[None]
        embeddings = llama.embed_tokens(torch.tensor(prompt + target))
        patches = network.embed_image(pixels)[0]
        sequence = torch.cat([embeddings[:1], patches, embeddings[1:]])[None]
        length = sequence.shape[1]
        hidden = llama(sequence, llama.rotary_table(length), llama.allocate_cache(length), 0)
        logits = llama.logits(hidden)[0].double().numpy()
        for position, token in enumerate(target, length - len(target) - 1):
            row = logits[position]
            losses.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[token])
    return np.mean(losses)


def test_the_training_loss_is_that_of_the_inference_network(golden_checkpoints, dataset, tmp_path):
    folder = golden_checkpoints['float32']
    tuning = FineTuning(PLAN, open_checkpoint(str(folder)), dataset, tmp_path, make_accelerator())
    inputs = tuning.reader.read(np.arange(len(dataset)))
    assert (inputs[2] != -100).sum(1).tolist() == [8] * len(dataset)
    with torch.no_grad():
        ours = float(tuning.vla(*inputs))
    policy = load(folder, unnorm_key=next(iter(open_checkpoint(str(folder)).norm_stats)))
    assert ours == pytest.approx(plain_loss(policy, dataset), rel=1e-4)


def test_an_adapter_is_trained_resumed_accumulated_and_loaded(
        golden_checkpoints, dataset, tmp_path):
    folder, out = golden_checkpoints['float32'], tmp_path / 'adapter'
    command = ['--finetune', str(folder), '--dataset', str(dataset.folder), '--decoders', '0',
               '--out', str(out),
               '--lora-rank', '8', '--steps', '6', '--batch', '4', '--learning-rate', '5e-3',
               '--threads', '1', '--device', 'cpu']
    checkpoint = open_checkpoint(str(folder))
    interrupted = FineTuning(PLAN, checkpoint, dataset, out, make_accelerator())

    def interrupt(step, losses):
        if step == 3:
            interrupted.save()
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(interrupt)
    assert main(command) == 0
    whole = FineTuning(PLAN, checkpoint, dataset, tmp_path / 'whole', make_accelerator())
    whole.run(lambda step, losses: None)
    state = torch.load(out / 'training_state.pt', weights_only=True)
    assert_same_curve(state['curve'], whole.curve)
    assert whole.curve[-1]['action'] < 0.7 * whole.curve[0]['action']

    accumulated = FineTuning(PLAN, checkpoint, dataset, tmp_path / 'parts',
                             make_accelerator(accumulate=2))
    accumulated.run(lambda step, losses: None)
    np.testing.assert_allclose([x['action'] for x in accumulated.curve],
                               [x['action'] for x in whole.curve], rtol=1e-3)

    adapted = load(folder, unnorm_key='two_episodes', adapters={'mine': str(out)})
    base = load(folder, unnorm_key='two_episodes', adapters={'mine': str(out), 'same': str(out)},
                adapter='mine')
    seen = Observation((dataset[0].image,), 'wave')
    tokens = adapted.infer(seen).token_ids
    assert base.infer(seen).token_ids == tokens
    base.select_adapter(None)
    assert base.infer(seen).token_ids != tokens
    # The engine's network with the merged adapter has the loss of the trained one.
    with torch.no_grad():
        trained = float(whole.model(*whole.reader.read(np.arange(len(dataset)))))
    assert plain_loss(adapted, dataset) == pytest.approx(trained, rel=1e-3)


def test_the_small_model_is_trained_on_a_dataset_from_scratch(dataset, tmp_path, capsys):
    assert main(['--dataset', str(dataset.folder), '--decoders', '0',
                 '--out', str(tmp_path), '--steps', '6',
                 '--batch', '4', '--threads', '1', '--precision', 'bf16']) == 0
    state = torch.load(tmp_path / 'training_state.pt', weights_only=True)
    assert state['curve'][-1]['action'] < state['curve'][0]['action']
    chunk = load(tmp_path).infer(Observation((dataset[0].image,), 'wave'))
    assert chunk.actions.shape == (1, 7) and len(chunk.token_ids) == 7


def test_a_missing_dataset_or_package_is_named(dataset, monkeypatch, capsys, tmp_path,
                                               golden_checkpoints):
    folder = str(golden_checkpoints['float32'])
    assert main(['--finetune', folder, '--out', str(tmp_path)]) == 2
    for module in ('peft', 'pyarrow', 'accelerate'):
        expected = (f'the Python package {module} is not installed for {sys.executable}; run: '
                    f'{install_command("requirements-train.txt")}')
        monkeypatch.setitem(sys.modules, module, None)
        capsys.readouterr()
        assert main(['--finetune', folder, '--dataset', str(dataset.folder), '--decoders', '0',
                     '--out',
                     str(tmp_path), '--device', 'cpu']) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and error[0].endswith(expected)


def test_training_on_interventions_uses_only_their_frames_and_the_bases_scale(
        golden_checkpoints, dataset, with_takeovers, tmp_path):
    base = open_checkpoint(str(golden_checkpoints['float32']))
    key = next(iter(base.norm_stats))
    plan = replace(PLAN, steps=1, only='interventions', unnorm_key=key, validation=0.5)
    tuning = FineTuning(plan, base, with_takeovers, tmp_path / 'out', make_accelerator())
    assert sorted([*tuning.split.train, *tuning.split.validation]) == [2, 3, 6]
    assert {*tuning.split.train} in ({2, 3}, {6})
    scale = ActionStatistics.from_dataset(base.norm_stats[key])
    encoded = tuning.reader.read(np.array([2]))[1][0]
    tokens = tuning._encoder.actions.encode(scale.normalize(with_takeovers.actions[2]))
    assert encoded[-8:-1].tolist() == tokens.tolist()
    tuning.run(lambda step, losses: None)
    written = json.loads((tmp_path / 'out' / 'dataset_statistics.json').read_text())
    assert written == {key: base.norm_stats[key]}
    card = (tmp_path / 'out' / 'README.md').read_text()
    assert f'unnorm_key:={key}' in card and '3 episodes, 3 frames' in card
    with pytest.raises(TrainingError, match='no frame of .* is tagged as an intervention'):
        FineTuning(plan, base, dataset, tmp_path / 'none', make_accelerator())
    with pytest.raises(CheckpointError, match="no statistics under 'nobody'"):
        FineTuning(replace(plan, unnorm_key='nobody'), base, with_takeovers, tmp_path / 'none',
                   make_accelerator())
    narrow = LeRobotDataset(with_takeovers.folder)
    narrow.actions = with_takeovers.actions[:, :3]
    with pytest.raises(CheckpointError, match='are of 7 numbers, an action of the dataset has 3'):
        FineTuning(plan, base, narrow, tmp_path / 'none', make_accelerator())
