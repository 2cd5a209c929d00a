# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The recording of LIBERO's expert, its mean trajectory, and the small model that learns it."""

import json

import numpy as np
import pytest

pytest.importorskip('accelerate')
pytest.importorskip('pyarrow')
pytest.importorskip('vla_ros.worlds.world')

from vla_ros.cli.train import main  # noqa: E402
from vla_ros.data.lerobot_dataset import LeRobotDataset  # noqa: E402
from vla_ros.errors import ParameterError  # noqa: E402
from vla_ros.errors import UnsupportedError  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.training.chunks import ChunkDataset  # noqa: E402
from vla_ros.training.oft import shift_image  # noqa: E402
from vla_ros.training.record_libero import CHUNK  # noqa: E402
from vla_ros.training.record_libero import cut_chunks  # noqa: E402
from vla_ros.training.record_libero import mean_trajectory  # noqa: E402
from vla_ros.training.record_libero import plan_episodes  # noqa: E402
from vla_ros.training.record_libero import record_libero  # noqa: E402
from vla_ros.training.record_libero import write_recording  # noqa: E402
from vla_ros.worlds.libero.environment import libero_python  # noqa: E402

CAMERAS = ('observation.images.agentview', 'observation.images.wrist')
SUITES = ('libero_spatial', 'libero_object')


def test_the_last_initial_states_are_left_to_the_evaluation():
    plan = plan_episodes(SUITES, 800)
    assert {episode.state for episode in plan} == set(range(40))
    assert len({(episode.task, episode.state) for episode in plan}) == 800
    assert [str(episode.task) for episode in plan[9:11]] == ['libero_spatial/9', 'libero_object/0']
    with pytest.raises(ParameterError, match='from 1 to 800'):
        plan_episodes(SUITES, 801)


def test_a_mean_trajectory_is_the_mean_of_each_step_in_the_convention_of_the_benchmark():
    first, second, third = (np.full((length, 7), value, np.float32)
                            for length, value in ((2, 0.25), (3, 0.75), (5, 0.5)))
    first[:, 6], second[:, 6], third[:, 6] = 1.0, 1.0, 0.0
    mean = mean_trajectory([first, second, third])
    assert mean.shape == (3, 7)
    assert np.allclose(mean[:, 0], [0.5, 0.5, 0.625])
    assert np.array_equal(mean[:, 6], [-1.0, -1.0, -1.0])
    assert np.array_equal(mean_trajectory([third])[:, 6], np.ones(5))


def test_chunks_have_the_actions_of_every_step_and_repeat_the_last_one():
    actions = np.arange(10, dtype=np.float32)[:, None] + np.zeros((1, 7), np.float32)
    chunks = cut_chunks(actions, 4)
    assert chunks.shape == (3, CHUNK, 7)
    assert chunks[1, :, 0].tolist() == [4, 5, 6, 7, 8, 9, 9, 9]


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """Write a dataset of two short made-up episodes, of which one failed, and a third."""
    folder = tmp_path_factory.mktemp('data') / 'vla_ros_libero'
    (folder / 'raw').mkdir(parents=True)
    rng = np.random.default_rng(0)
    plan = plan_episodes(SUITES, 12)
    for index, length, success in ((0, 10, True), (1, 10, False), (11, 16, True)):
        frames = -(-length // 4)
        actions = rng.uniform(-1, 1, (length, 7)).astype(np.float32)
        actions[:, 6] = np.arange(length) < length / 2
        np.savez(plan[index].file(folder / 'raw'), success=success, actions=actions,
                 instruction=f'pick up the black bowl {index}',
                 states=rng.normal(size=(frames, 8)).astype(np.float32),
                 **{name: rng.integers(0, 256, (frames, 224, 224, 3), np.uint8)
                    for name in ('agentview', 'wrist')})
    write_recording(folder, plan, 4)
    return folder


def test_a_recording_is_a_dataset_of_successes(dataset):
    found = LeRobotDataset(dataset)
    assert (found.episode_count, len(found), found.metadata.fps) == (2, 3 + 4, 5)
    assert found.cameras == CAMERAS and found.states.shape == (7, 8)
    chunks = ChunkDataset(dataset, CAMERAS, proprio=True)
    assert np.array_equal(chunks.chunk(1, 3)[0], found.actions[1])
    assert chunks.chunk(0, CHUNK).shape == (CHUNK, 7)
    with pytest.raises(Exception, match='fewer than the chunk of 9'):
        chunks.chunk(0, 9)
    entries = json.loads(
        (dataset / 'mean_trajectory_libero_spatial/recording.json').read_text())
    assert [entry['state'] for entry in entries] == list(range(40, 50))
    assert len(np.load(dataset / 'mean_trajectory_libero_spatial' / entries[0]['file'])) == 10


def test_a_shifted_image_repeats_its_borders():
    image = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4)
    shifted = {shift_image(image, 1, np.random.default_rng(seed)).tobytes() for seed in range(60)}
    assert len(shifted) == 9 and image.tobytes() in shifted


def test_a_small_model_of_both_heads_is_trained_from_the_start(dataset, tmp_path, capsys):
    out = tmp_path / 'm'
    words = ['--dataset', str(dataset), '--head', 'both', '--proprio', '--preload', '--shift', '2',
             '--camera', CAMERAS[0], '--camera', CAMERAS[1], '--batch', '4', '--threads', '1',
             '--learning-rate', '3e-3', '--device', 'cpu', '--steps', '30', '--validation', '0.5',
             '--validate-every', '30', '--out', str(out)]
    assert main(words) == 0
    import torch
    curve = torch.load(out / 'training_state.pt', weights_only=True)['curve']
    losses = [row['action'] for row in curve]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    assert {'validation_l1', 'validation_gripper', 'validation_l1_tokens'} <= set(curve[-1])
    image = np.zeros((224, 224, 3), np.uint8)
    for head in ('auto', 'discrete'):
        policy = load_policy(PolicyConfig(
            checkpoint=str(out), unnorm_key='vla_ros_libero', device='cpu', image_count=2,
            head=head, clip_invalid=True))
        chunk = policy.infer(Observation((image, image), 'pick up the black bowl 0', np.zeros(8)))
        assert chunk.actions.shape == (CHUNK, 7)


@pytest.mark.parametrize(('words', 'sentence'), [
    (['--dataset', 'd', '--out', 'o', '--preload'], '--preload needs --head l1 or both'),
    (['--dataset', 'd', '--out', 'o', '--start', 's'], '--start with --dataset needs --head'),
    (['--dataset', 'd', '--out', 'o', '--head', 'l1', '--augment', '--preload'],
     '--augment and --preload exclude one another'),
    (['--dataset', 'd', '--out', 'o', '--head', 'l1', '--start', 's', '--finetune', 'f'],
     '--start and --finetune exclude one another'),
    (['--suite', 'libero_spatial', '--out', 'o'], '--suite belongs to --record'),
    (['--record', 'r', '--suite', 'libero_spatial', '--episodes', '401'], 'from 1 to 400'),
])
def test_options_that_exclude_one_another_are_refused(words, sentence, capsys, tmp_path,
                                                      monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) != 0
    assert sentence in capsys.readouterr().err


def test_the_expert_is_recorded_by_the_benchmarks_own_controller(tmp_path):
    try:
        import os
        libero_python(os.environ)
    except UnsupportedError as error:
        pytest.skip(str(error))
    folder = tmp_path / 'vla_ros_libero'
    record_libero(folder, ('libero_spatial',), 1, 8, 1, lambda line: None)
    found = LeRobotDataset(folder)
    assert found.cameras == CAMERAS and found.states.shape == (len(found), 8)
    assert found.metadata.fps == 2.5 and set(found.actions[:, 6]) == {0.0, 1.0}
    assert found.image(0, CAMERAS[1]).shape == (224, 224, 3)
