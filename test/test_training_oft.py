# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Fine-tuning with an L1 head: the runtime computes what was trained."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip('accelerate')
pytest.importorskip('peft')
pytest.importorskip('vla_ros.worlds.world')
pyarrow = pytest.importorskip('pyarrow')

from vla_ros.cli.train import main  # noqa: E402
from vla_ros.data.lerobot_metadata import DatasetError  # noqa: E402
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.training.accelerator import make_accelerator  # noqa: E402
from vla_ros.training.chunks import ChunkDataset  # noqa: E402
from vla_ros.training.oft import OftFineTuning  # noqa: E402
from vla_ros.training.oft import OftPlan  # noqa: E402
from vla_ros.training.record import CAMERA  # noqa: E402
from vla_ros.training.record import Demonstration  # noqa: E402
from vla_ros.training.record import write_dataset  # noqa: E402

WRIST = 'observation.images.wrist'
PLAN = OftPlan(steps=8, batch=4, rank=4, learning_rate=5e-3, validation=0.3, validate_every=4,
               chunk=3, cameras=(CAMERA, WRIST), proprio=True)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Write three episodes of two cameras, with instructions of different length."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp('data') / 'two_cameras'
    write_dataset(folder, iter([
        Demonstration(text, rng.integers(0, 256, (length, 48, 64, 3), np.uint8),
                      rng.normal(size=(length, 7)).astype(np.float32),
                      rng.normal(size=(length, 7)).astype(np.float32))
        for text, length in (('wave', 3), ('pick up the cup and wave', 4), ('wave', 5))]))
    path = folder / 'data/chunk-000/file-000.parquet'
    table = pyarrow.parquet.read_table(path)
    column = table[CAMERA].combine_chunks().take(pyarrow.array(range(len(table))[::-1]))
    pyarrow.parquet.write_table(table.append_column(WRIST, column), path)
    info = json.loads((folder / 'meta/info.json').read_text())
    info['features'][WRIST] = info['features'][CAMERA]
    (folder / 'meta/info.json').write_text(json.dumps(info))
    return folder


def test_a_chunk_repeats_the_last_action_of_its_episode(folder):
    dataset = ChunkDataset(folder, (CAMERA, WRIST), proprio=True)
    actions = dataset.main.actions
    assert np.array_equal(dataset.chunk(0, 3), actions[:3])
    assert np.array_equal(dataset.chunk(1, 4), actions[[1, 2, 2, 2]])
    assert np.array_equal(dataset.chunk(3, 2), actions[3:5])
    assert np.array_equal(dataset.chunk(11, 2), actions[[11, 11]])
    assert np.array_equal(dataset.images(0)[1], dataset.images(11)[0])
    assert dataset.states.shape == (12, 7)
    with pytest.raises(DatasetError, match='given twice'):
        ChunkDataset(folder, (CAMERA, CAMERA))


def test_a_merged_checkpoint_predicts_the_chunks_of_the_training(
        golden_checkpoints, folder, tmp_path, capsys):
    base, adapter, merged = golden_checkpoints['float32'], tmp_path / 'adapter', tmp_path / 'out'
    dataset = ChunkDataset(folder, PLAN.cameras, proprio=True)
    tuning = OftFineTuning(PLAN, open_checkpoint(str(base)), dataset, adapter, make_accelerator())
    tuning.run(lambda step, losses: None)
    losses = [row['action'] for row in tuning.curve]
    assert np.mean(losses[-2:]) < 0.9 * losses[0] and 'validation_l1' in tuning.curve[3]
    # The weights of the best step are in the folder.
    tuning.write()
    tuning._write_weights()
    assert 'chunk_length: 3' in (adapter / 'README.md').read_text()
    assert main(['--merge', str(adapter), '--finetune', str(base), '--out', str(merged)]) == 0
    policy = load_policy(PolicyConfig(
        str(merged), device='cpu', warmup=False, image_count=2, chunk_length=3,
        unnorm_key='two_cameras'))
    rows = np.array([0, 3, 11])
    with torch.no_grad():
        expected = tuning.network.predict(*tuning.reader.read(rows)).numpy()
    for row, chunk in zip(rows.tolist(), expected):
        found = policy.infer(Observation(tuple(dataset.images(row)),
                                         dataset.main.instruction(row), dataset.states[row]))
        np.testing.assert_allclose(found.normalized, chunk, rtol=1e-3, atol=1e-4)
    # A checkpoint with an L1 head cannot be fine-tuned further.
    assert main(['--finetune', str(merged), '--dataset', str(folder), '--decoders', '0', '--out',
                 str(tmp_path / 'again'), '--device', 'cpu']) == 2
    assert 'makes it OpenVLA-OFT' in capsys.readouterr().err


def test_vla_train_trains_an_l1_head_with_one_camera(golden_checkpoints, folder, tmp_path, capsys):
    arguments = ['--finetune', str(golden_checkpoints['float32']),
                 '--dataset', str(folder), '--decoders', '0',
                 '--out', str(tmp_path), '--steps', '2', '--batch', '4', '--threads', '1',
                 '--device', 'cpu', '--lora-rank', '4']
    assert main([*arguments, '--head', 'l1', '--chunk', '2', '--augment', '--precision', 'bf16',
                 '--accumulate', '2']) == 0
    head = torch.load(tmp_path / 'action_head--latest_checkpoint.pt', weights_only=True)
    assert len(head['model.fc2.bias']) == 7
    assert not list(tmp_path.glob('proprio_projector*'))
    capsys.readouterr()
    assert main([*arguments, '--proprio']) == 2
    assert 'needs --head l1' in capsys.readouterr().err
