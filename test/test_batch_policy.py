# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A batch gives each observation the chunk, or the error, that it gets alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from batch_requests import compare  # noqa: E402, I100
from batch_requests import draw  # noqa: E402
from vla_ros.errors import ObservationError  # noqa: E402
from vla_ros.errors import ParameterError  # noqa: E402
from vla_ros.model import openvla  # noqa: E402
from vla_ros.policy.base import ActionChunk  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.policy.transformed import TransformedPolicy  # noqa: E402
from vla_ros.util.demo_checkpoint import ensure_checkpoint  # noqa: E402


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    checkpoint = ensure_checkpoint(tmp_path_factory.mktemp('demo') / 'checkpoint')
    return load_policy(PolicyConfig(str(checkpoint), device='cpu'))


@pytest.fixture
def requests():
    random = np.random.default_rng(5)
    return [draw(random) for _ in range(6)]


def infer_alone(policy, request):
    policy.reset()
    return policy.infer(request)


def assert_same_chunk(chunk, expected):
    assert chunk.token_ids == expected.token_ids
    assert chunk.prompt == expected.prompt
    np.testing.assert_array_equal(chunk.actions, expected.actions)
    np.testing.assert_allclose(chunk.margins, expected.margins, rtol=0, atol=1e-3)


def test_a_mixed_batch_gives_the_results_of_single_inferences(policy):
    random = np.random.default_rng(1)
    results, batches, accepted, _, _ = compare(policy, [draw(random) for _ in range(60)], random)
    assert results == [True] * 60
    assert batches < 40
    assert accepted > 20


def test_chunks_are_scaled_by_the_statistics_of_each_robot(policy, requests, monkeypatch):
    own = policy._norm_stats[policy.spec.unnorm_key]
    other = {'action': {key: [7.0 + number for number in value] if key != 'mask' else value
                        for key, value in own['action'].items()}}
    monkeypatch.setitem(policy._norm_stats, 'other', other)
    for request, chunk, key in zip(requests, policy.infer_batch(requests),
                                   ['other', policy.spec.unnorm_key] * 3):
        expected = policy.rescale(infer_alone(policy, request), key)
        np.testing.assert_array_equal(policy.rescale(chunk, key), expected)
    assert not np.array_equal(policy.rescale(chunk, 'other'), chunk.actions)


def test_an_invalid_observation_fails_without_affecting_others(policy, requests):
    observations = [*requests[:3], replace(requests[3], images=requests[3].images * 2),
                    Observation((np.zeros((4, 4), np.uint8),), 'grey'),
                    replace(requests[4], instruction='word ' * 790), requests[5]]
    results = policy.infer_batch(observations)
    for place in (3, 4, 5):
        assert isinstance(results[place], ObservationError)
        with pytest.raises(ObservationError) as raised:
            infer_alone(policy, observations[place])
        assert str(results[place]) == str(raised.value)
    for place in (0, 1, 2, 6):
        assert_same_chunk(results[place], infer_alone(policy, observations[place]))
    assert len(policy.infer_batch(observations[3:5])) == 2


def test_a_token_that_is_no_action_fails_only_its_own_observation(policy, requests, monkeypatch):
    bad = infer_alone(policy, requests[2]).token_ids[3]
    tokenizer = policy.action_tokenizer
    monkeypatch.setattr(policy, 'action_tokenizer', SimpleNamespace(
        is_action=lambda ids: tokenizer.is_action(ids) & (np.array(ids) != bad),
        decode=tokenizer.decode, bins=tokenizer.bins))
    results = policy.infer_batch(requests)
    for result, request in zip(results, requests):
        try:
            assert_same_chunk(result, infer_alone(policy, request))
        except openvla.InvalidAction as error:
            assert (result.token_ids, result.positions) == (error.token_ids, error.positions)
    assert isinstance(results[2], openvla.InvalidAction)


def test_a_batch_changes_neither_prompt_nor_draft_of_single_inferences(policy, requests):
    first = infer_alone(policy, requests[0])
    policy.infer_batch(requests[1:])
    again = policy.infer(requests[0])
    assert (again.drafted, again.accepted) == (6, 6)
    assert again.token_ids == first.token_ids


def test_sequences_with_nearly_equal_logits_are_decoded_alone(policy, requests, monkeypatch):
    monkeypatch.setattr(openvla, '_TIE', 1e9)
    first = infer_alone(policy, requests[0])
    for chunk, request in zip(policy.infer_batch(requests), requests):
        # To the bit: not only the same tokens.
        np.testing.assert_array_equal(chunk.margins, infer_alone(policy, request).margins)
    policy.reset()
    policy.infer(requests[0])
    policy.infer_batch(requests[1:])
    again = policy.infer(requests[0])
    assert (again.drafted, again.accepted) == (6, 6)
    assert again.token_ids == first.token_ids


@pytest.mark.parametrize(('count', 'drafts', 'text'), [
    (0, None, 'observations'), (17, None, 'observations'), (2, [()], 'drafts')])
def test_a_batch_of_invalid_size_is_refused(policy, requests, count, drafts, text):
    with pytest.raises(ParameterError, match=text):
        policy.infer_batch(requests[:1] * count, drafts)


def test_transforms_apply_to_batches(policy, requests):
    transformed = TransformedPolicy(policy, ('rotate_180',), ())
    broken = replace(requests[1], images=(np.zeros((0, 4, 3), np.uint8),))
    results = transformed.infer_batch([requests[0], broken, requests[2]], [(), (), ()])
    for place in (0, 2):
        assert_same_chunk(results[place], infer_alone(transformed, requests[place]))
        assert isinstance(results[place], ActionChunk)
    assert 'no pixels' in str(results[1])
    assert transformed.max_batch == policy.max_batch


def test_transforms_add_no_infer_batch_to_a_policy_without_it():
    class Single:
        spec = None

    assert getattr(TransformedPolicy(Single()), 'infer_batch', None) is None
