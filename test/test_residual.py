# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The residual head: fitted on scenes, tested on others, and bounded by its bins."""

import copy
import shutil

from goldens import CASES
from goldens import rgb
from goldens import SPEC
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from safetensors.torch import load_file  # noqa: E402, I100
from safetensors.torch import save_file  # noqa: E402
from vla_ros.data.actions import ActionStatistics  # noqa: E402
from vla_ros.data.actions import ActionTokenizer  # noqa: E402
from vla_ros.errors import CheckpointError  # noqa: E402
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.model.residual import fit_residual_head  # noqa: E402
from vla_ros.model.residual import refine  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.util.tiny_checkpoint import write_checkpoint  # noqa: E402

KEY = 'golden_bridge'
NAME = 'residual_head--example_checkpoint.safetensors'


def load(folder):
    return load_policy(PolicyConfig(str(folder), unnorm_key=KEY, device='cpu', warmup=False,
                                    clip_invalid=True))


@pytest.fixture(scope='module')
def smooth_checkpoint(tmp_path_factory, golden_checkpoints):
    """
    Write a checkpoint whose hidden states change smoothly with its image, as after training.

    Random weights of the golden size would scatter them. The embeddings of neighbouring action
    tokens, which are independent there, lie on a line here.
    """
    spec = copy.deepcopy(SPEC)
    spec['gain']['linear'] = [
        [name, gain if name.startswith(('patch', 'projector')) else 0.3 * gain]
        for name, gain in spec['gain']['linear']]
    folder = tmp_path_factory.mktemp('smooth')
    write_checkpoint(spec, folder, tokenizer=golden_checkpoints['float32'])
    weights = load_file(folder / 'model.safetensors')
    table = weights['language_model.model.embed_tokens.weight']
    start, direction = torch.randn(2, 96, generator=torch.Generator().manual_seed(0)) * 0.03
    table[31744:32000] = start + torch.linspace(1, -1, 256)[:, None] * direction
    save_file(weights, folder / 'model.safetensors')
    return folder


def scene(position):
    """Draw a bright spot on a gradient, at a position in [0, 1]², as uint8 (56, 56, 3)."""
    y, x = np.mgrid[0:56, 0:56] / 55.0
    spot = np.exp(-((x - position[0]) ** 2 + (y - position[1]) ** 2) / 0.3)
    planes = [spot, 0.5 * spot + 0.5 * x, 1.0 - spot]
    return np.rint(255 * np.stack(planes, axis=2)).astype(np.uint8)


def motion(position):
    """Return the recorded action of a scene: smooth, in [-1, 1], float64 (7,)."""
    u, v = 2 * position - 1
    return np.array([0.9 * u, 0.9 * v, 0.8 * u * v, np.sin(1.5 * u), np.cos(2 * v) - 0.2,
                     0.4 * (u + v), 0.7 * u * u - 0.3])


@torch.inference_mode()
def record(policy, positions):
    """Return hidden states, (N, 7, hidden), and actions, (N, 7), under the actions' own tokens."""
    network, tokenizer = policy.engine.network, policy.action_tokenizer
    llama = network.language_model
    ids = torch.tensor([*CASES[0]['input_ids'], 29871])
    states, actions = [], []
    for position in positions:
        action = motion(position)
        tokens = torch.from_numpy(tokenizer.encode(action))
        pixels = torch.from_numpy(policy.image_processor(scene(position)))[None]
        text = llama.embed_tokens(torch.cat([ids, tokens[:-1]]))
        sequence = torch.cat([text[:1], network.embed_image(pixels)[0], text[1:]])[None]
        length = sequence.shape[1]
        hidden = llama(sequence, llama.rotary_table(length), llama.allocate_cache(length), 0)
        states.append(hidden[0, -7:])
        actions.append(action)
    return torch.stack(states), torch.tensor(np.array(actions))


@pytest.fixture(scope='module')
def fitted(smooth_checkpoint):
    """Fit a head on 500 scenes along a curve; return it with 100 others."""
    curve = np.random.default_rng(11).random(600)
    # Networks this small are faster on one core than on several that wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    positions = np.stack([curve, 0.5 + 0.3 * np.sin(3 * curve)], axis=1)
    hidden, actions = record(load(smooth_checkpoint), positions)
    torch.set_num_threads(threads)
    return fit_residual_head(hidden[:500], actions[:500]), hidden[500:], actions[500:].numpy()


def test_a_fitted_head_reduces_the_error_on_unseen_scenes_fourfold(golden_checkpoints, fitted):
    head, hidden, actions = fitted
    tokenizer = ActionTokenizer(32000)
    bins = tokenizer.bins(tokenizer.encode(actions))
    statistics = ActionStatistics.from_dataset(
        open_checkpoint(str(golden_checkpoints['float32'])).norm_stats[KEY])

    def error(normalized):
        return np.abs(statistics.unnormalize(normalized)
                      - statistics.unnormalize(actions)).mean()

    coarse = error(tokenizer.centers[bins])
    fine = error(refine(head(hidden).numpy(), bins, tokenizer))
    print(f'mean absolute error: {coarse:.3g} with bin centers, {fine:.3g} with the head, '
          f'{coarse / fine:.1f} times less')
    assert fine * 4 <= coarse


def test_refined_values_stay_within_their_bin():
    tokenizer = ActionTokenizer(32000)
    bins = np.array([0, 100, 254])
    clipped = refine(np.array([5.0, -5.0, 0.0], np.float32), bins, tokenizer)
    width = 2 / 255
    np.testing.assert_allclose(clipped, [-1 + width, -1 + 100 * width, 1 - width], atol=1e-12)
    inside = tokenizer.centers[bins] + 0.3 * width
    np.testing.assert_allclose(refine(inside, bins, tokenizer), inside)


@pytest.fixture
def folder(golden_checkpoints, tmp_path):
    return shutil.copytree(golden_checkpoints['float32'], tmp_path / 'copy')


def test_a_policy_applies_the_residual_head_of_its_checkpoint(folder, fitted):
    observation = Observation((rgb(CASES[0]['image']),), CASES[0]['instruction'])
    plain = load(folder).infer(observation)
    save_file(fitted[0].state_dict(), folder / NAME)
    policy = load(folder)
    chunk = policy.infer(observation)
    assert (chunk.token_ids, chunk.bins) == (plain.token_ids, plain.bins)
    assert 'residual' in chunk.timings_ms
    # The states that the tokens were read from, in one pass over the whole sequence.
    network = policy.engine.network
    llama = network.language_model
    with torch.inference_mode():
        ids = torch.tensor([*CASES[0]['input_ids'], 29871, *plain.token_ids[:-1]])
        pixels = torch.from_numpy(policy.image_processor(rgb(CASES[0]['image'])))[None]
        text = llama.embed_tokens(ids)
        sequence = torch.cat([text[:1], network.embed_image(pixels)[0], text[1:]])[None]
        length = sequence.shape[1]
        hidden = llama(sequence, llama.rotary_table(length), llama.allocate_cache(length), 0)
        values = fitted[0](hidden[0, -7:]).numpy()
    expected = refine(values, np.array(plain.bins), policy.action_tokenizer)
    np.testing.assert_allclose(chunk.normalized[0], expected, rtol=0, atol=1e-5)
    assert np.abs(chunk.normalized - plain.normalized).max() <= 1 / 255 + 1e-12
    assert not np.array_equal(chunk.normalized, plain.normalized)


def test_a_residual_head_of_another_model_is_an_error(folder, fitted):
    state = fitted[0].state_dict()
    save_file({**state, 'fc2.weight': torch.zeros(6, 512)}, folder / NAME)
    with pytest.raises(CheckpointError, match='fc2.weight has shape'):
        load(folder)
    save_file({'fc1.weight': torch.zeros(2, 2)}, folder / NAME)
    with pytest.raises(CheckpointError, match='lacks fc1.bias'):
        load(folder)
