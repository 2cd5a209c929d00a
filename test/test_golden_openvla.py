# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The runtime gives the outputs of the official code, from pixels to logits."""

from goldens import assert_sample
from goldens import CASES
from goldens import GOLDENS
from goldens import rgb
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from vla_ros.model.attention import choose_attention  # noqa: E402, I100
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.model.engine import Engine  # noqa: E402
from vla_ros.model.network import OpenVlaNetwork  # noqa: E402
from vla_ros.model.timings import HostTimings  # noqa: E402
from vla_ros.model.tokenizer import PromptTokenizer  # noqa: E402
from vla_ros.model.weights import build_network  # noqa: E402
from vla_ros.model.weights import load_weights  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.util.progress import ignore_progress  # noqa: E402

CPU = torch.device('cpu')
by_name = pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])


@pytest.fixture(scope='module')
def checkpoint(golden_weights):
    return open_checkpoint(str(golden_weights))


@pytest.fixture(scope='module', params=['sdpa', 'eager'])
def network(request, checkpoint):
    attention = choose_attention(request.param, CPU, torch.float32)
    network = build_network(lambda: OpenVlaNetwork(checkpoint.config, attention.attend), CPU,
                            torch.float32)
    load_weights(network, checkpoint.folder, ignore_progress)
    return network


def pixels(checkpoint, case):
    return torch.from_numpy(checkpoint.image_processor(rgb(case['image'])))[None]


@by_name
@torch.inference_mode()
def test_image_features_are_the_official_ones_of_each_case(checkpoint, network, case):
    features = network.vision_backbone(pixels(checkpoint, case))
    assert_sample(features, case['vision_features'], atol=2e-4)
    assert_sample(network.projector(features), case['projected_patches'], atol=2e-4)


@by_name
def test_each_decode_step_has_the_official_token_and_logits(checkpoint, network, case):
    engine = Engine(network, max_length=128, count=7)
    engine.pixels.copy_(pixels(checkpoint, case))
    engine.set_prompt(tuple(case['input_ids_model']))
    logits = []
    network.language_model.logits = recording(network.language_model.logits, logits)
    try:
        decoded = engine.run(HostTimings())
        # With the correct draft one pass has all logits.
        drafted = engine.run(HostTimings())
    finally:
        del network.language_model.logits
    assert drafted.accepted == 6
    *single, together = logits
    for run, scores in ((decoded, torch.cat(single)), (drafted, together)):
        assert_steps(run, scores, case)


def assert_steps(decoded, logits, case):
    assert decoded.token_ids == case['action_token_ids']
    for step, scores, margin in zip(case['steps'], logits, decoded.margins):
        best = scores.topk(5)
        assert best.indices.tolist() == step['top5_ids']
        np.testing.assert_allclose(best.values, step['top5_logits'], rtol=0, atol=5e-4)
        np.testing.assert_allclose(scores[GOLDENS['probe_ids']], step['probe_logits'],
                                   rtol=0, atol=5e-4)
        assert abs(margin - step['margin']) <= 1e-3


def recording(function, calls):
    """Return a function that also appends what it returns."""
    def recorded(hidden):
        calls.append(function(hidden))
        return calls[-1]
    return recorded


@by_name
@pytest.mark.parametrize('storage', ['float32', 'bfloat16', 'sharded'])
def test_the_policy_gives_the_official_prompt_tokens_and_action(golden_checkpoints, storage, case):
    policy = load_policy(PolicyConfig(
        str(golden_checkpoints[storage]), case['unnorm_key'], device='cpu', dtype='float32',
        prompt=case['template'], clip_invalid=True, warmup=False))
    observation = Observation((rgb(case['image']),), case['instruction'])
    for accepted in (0, 6):  # without a draft, and with the previous action as one
        chunk = policy.infer(observation)
        assert chunk.accepted == chunk.drafted == accepted
        assert chunk.prompt == case['prompt']
        assert list(chunk.input_ids) == case['input_ids']
        assert list(chunk.token_ids) == case['action_token_ids']
        np.testing.assert_allclose(chunk.normalized, [case['normalized_action']], rtol=0,
                                   atol=1e-12)
        np.testing.assert_allclose(chunk.actions, [case['action']], rtol=0, atol=1e-12)


@pytest.mark.parametrize('row', GOLDENS['tokenizer'], ids=lambda row: repr(row['text'])[-30:])
def test_the_tokenizer_gives_the_official_ids(golden_checkpoints, row):
    tokenizer = PromptTokenizer(golden_checkpoints['float32'], bos_token_id=1)
    assert list(tokenizer.encode(row['text'])) == row['input_ids']


@by_name
def test_a_prompt_is_closed_by_exactly_one_space_token(golden_checkpoints, case):
    tokenizer = PromptTokenizer(golden_checkpoints['float32'], bos_token_id=1)
    closed = tokenizer.close(tuple(case['input_ids']))
    assert list(closed) == case['input_ids_model']
    assert tokenizer.close(closed) == closed
