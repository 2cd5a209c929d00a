# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Batched decoding gives each sequence the tokens that it gets alone."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('transformers')

from test_engine import cases  # noqa: E402, I100
from test_engine import COUNT  # noqa: E402
from test_engine import random_network  # noqa: E402
from test_engine import VOCABULARY  # noqa: E402
from vla_ros.model.batch_engine import BatchEngine  # noqa: E402
from vla_ros.model.batch_engine import BatchItem  # noqa: E402
from vla_ros.model.engine import Engine  # noqa: E402
from vla_ros.model.graph_capture import PlainCalls  # noqa: E402
from vla_ros.model.timings import HostTimings  # noqa: E402

MAX_LENGTH = 64


@pytest.fixture(scope='module')
def network():
    return random_network(0)


@pytest.fixture(scope='module')
def drawn(network):
    return cases(network, 120, seed=3)


def batch_item(case, draft=()):
    return BatchItem(case.pixels, case.prompt, draft)


def wrong_draft(case, *positions):
    return [(token + 1) % VOCABULARY if place in positions else token
            for place, token in enumerate(case.tokens)]


def assert_tokens(engine, cases_, drafts=None):
    """Run a batch, and compare the tokens of each sequence with plain decoding."""
    drafts = drafts or [()] * len(cases_)
    results = engine.run([batch_item(*pair) for pair in zip(cases_, drafts)], HostTimings())
    assert [result.token_ids for result in results] == [case.tokens for case in cases_]
    return results


@pytest.mark.parametrize('heads', [(4, 4, 2), (4, 2, 2), (2, 1, 1)])
def test_batches_of_any_size_and_mixed_lengths_give_the_tokens_of_single_sequences(heads):
    network = random_network(1, *heads)
    drawn, random = cases(network, 100, seed=7), np.random.default_rng(7)
    engine, compared = BatchEngine(network, MAX_LENGTH, COUNT), 0
    while compared < 200:
        size = random.integers(1, 9)
        chosen = [drawn[index] for index in random.integers(0, len(drawn), size)]
        drafts = [[(), case.tokens, wrong_draft(case, *random.integers(0, COUNT, 2))][kind]
                  for case, kind in zip(chosen, random.integers(0, 3, size))]
        assert_tokens(engine, chosen)
        assert_tokens(engine, chosen, drafts)
        compared += size
    assert len({len(case.prompt) for case in drawn}) > 5


def test_margins_and_states_of_a_batch_equal_those_of_single_sequences(network, drawn):
    single, engine = Engine(network, MAX_LENGTH, COUNT), BatchEngine(network, MAX_LENGTH, COUNT)
    results = assert_tokens(engine, drawn[:6], [case.tokens for case in drawn[:3]] + [()] * 3)
    for place, (case, result) in enumerate(zip(drawn, results)):
        np.testing.assert_allclose(result.margins, case.run(single).margins, rtol=0, atol=1e-4)
        torch.testing.assert_close(engine.states(place), single.states, rtol=1e-4, atol=1e-4)


def test_drafted_and_accepted_tokens_are_counted_per_sequence(network, drawn):
    engine, (first, second, third, fourth) = BatchEngine(network, MAX_LENGTH, COUNT), drawn[:4]
    drafts = [first.tokens, wrong_draft(second, 0), (), wrong_draft(fourth, *range(COUNT))]
    results = assert_tokens(engine, [first, second, third, fourth], drafts)
    assert [(result.drafted, result.accepted) for result in results] == [
        (6, 6), (6, 5), (0, 0), (6, 0)]


def test_the_sequences_of_a_batch_share_forward_passes(network, drawn, monkeypatch):
    engine = BatchEngine(network, MAX_LENGTH, COUNT)
    passes = []
    extend = network.language_model.extend
    monkeypatch.setattr(network.language_model, 'extend', lambda embeddings, *rest: (
        passes.append(embeddings.shape[0]), extend(embeddings, *rest))[1])
    assert_tokens(engine, drawn[:5])
    assert passes == [5] * COUNT
    passes.clear()
    assert_tokens(engine, drawn[:5], [case.tokens for case in drawn[:5]])
    assert passes == [5]


def test_a_batch_does_not_depend_on_earlier_batches(network, drawn):
    engine = BatchEngine(network, MAX_LENGTH, COUNT)
    longest, shortest = (choose(drawn, key=lambda case: len(case.prompt)) for choose in (max, min))
    for batch in ([shortest], [longest, shortest], [shortest, longest], drawn[:8], [shortest],
                  [shortest, shortest], [longest, *drawn[:8]], [longest]):
        assert_tokens(engine, batch)
        assert_tokens(engine, batch, [wrong_draft(case, 2) for case in batch])


def test_buffers_grow_to_the_largest_batch_and_are_reused(network, drawn):
    engine = BatchEngine(network, MAX_LENGTH, COUNT)
    assert engine._buffers is None
    assert_tokens(engine, drawn[:2])
    assert_tokens(engine, drawn[:5])
    kept = engine._buffers
    assert kept.size == 5
    assert_tokens(engine, drawn[:3])
    assert_tokens(engine, drawn[:1])
    assert engine._buffers is kept


class SlowCapture(PlainCalls):
    """Captures like a GPU: per length bucket, slowly, after a run on scratch buffers."""

    def __init__(self):
        super().__init__(bucket=8, is_slow=True)
        object.__setattr__(self, 'ran', [])

    def record(self, run, buffers):
        with torch.inference_mode():
            run(buffers.scratch())
        return lambda: (self.ran.append(run), run(buffers))[1]


def test_a_batch_runs_passes_captured_for_the_next_power_of_two(network, drawn):
    capture = SlowCapture()
    engine = BatchEngine(network, MAX_LENGTH, COUNT, capture)
    for size in (3, 5, 8, 1, 3):
        chosen = drawn[:size]
        # Until the background thread has captured the passes, they run eagerly.
        for _ in range(200):
            capture.ran.clear()
            assert_tokens(engine, chosen, [wrong_draft(case, 3) for case in chosen])
            assert_tokens(engine, chosen)
            if len(capture.ran) > COUNT + 1:
                break
        assert len(capture.ran) > COUNT + 1
    assert set(engine._graphs) <= {1, 4, 8}


def test_prepared_sizes_are_captured_before_the_first_batch(network, drawn):
    capture = SlowCapture()
    engine = BatchEngine(network, MAX_LENGTH, COUNT, capture)
    engine.prepare((1, 2, 4), max(len(case.prompt) for case in drawn))
    kept = engine._buffers
    for size in (1, 2, 4):
        capture.ran.clear()
        assert_tokens(engine, drawn[:size])
        assert len(capture.ran) == COUNT, 'a pass ran eagerly'
    assert engine._buffers is kept
