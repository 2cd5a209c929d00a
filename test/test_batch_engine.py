# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A batch gives each sequence the tokens that it has alone."""

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


def item(case, draft=()):
    return BatchItem(case.pixels, case.prompt, draft)


def wrong(case, *places):
    return [(token + 1) % VOCABULARY if place in places else token
            for place, token in enumerate(case.tokens)]


def check(engine, cases_, drafts=None):
    """Run a batch, and compare each sequence with the plain way."""
    drafts = drafts or [()] * len(cases_)
    results = engine.run([item(*pair) for pair in zip(cases_, drafts)], HostTimings())
    assert [result.token_ids for result in results] == [case.tokens for case in cases_]
    return results


@pytest.mark.parametrize('heads', [(4, 4, 2), (4, 2, 2), (2, 1, 1)])
def test_batches_of_any_size_and_mixed_lengths_have_the_tokens_of_each_alone(heads):
    network = random_network(1, *heads)
    drawn, random = cases(network, 100, seed=7), np.random.default_rng(7)
    engine, compared = BatchEngine(network, MAX_LENGTH, COUNT), 0
    while compared < 200:
        size = random.integers(1, 9)
        chosen = [drawn[index] for index in random.integers(0, len(drawn), size)]
        drafts = [[(), case.tokens, wrong(case, *random.integers(0, COUNT, 2))][kind]
                  for case, kind in zip(chosen, random.integers(0, 3, size))]
        check(engine, chosen)
        check(engine, chosen, drafts)
        compared += size
    assert len({len(case.prompt) for case in drawn}) > 5


def test_margins_and_states_are_those_of_each_alone(network, drawn):
    single, engine = Engine(network, MAX_LENGTH, COUNT), BatchEngine(network, MAX_LENGTH, COUNT)
    results = check(engine, drawn[:6], [case.tokens for case in drawn[:3]] + [()] * 3)
    for place, (case, result) in enumerate(zip(drawn, results)):
        np.testing.assert_allclose(result.margins, case.run(single).margins, rtol=0, atol=1e-4)
        torch.testing.assert_close(engine.states(place), single.states, rtol=1e-4, atol=1e-4)


def test_accepted_tokens_are_counted_for_each(network, drawn):
    engine, (first, second, third, fourth) = BatchEngine(network, MAX_LENGTH, COUNT), drawn[:4]
    drafts = [first.tokens, wrong(second, 0), (), wrong(fourth, *range(COUNT))]
    results = check(engine, [first, second, third, fourth], drafts)
    assert [(result.drafted, result.accepted) for result in results] == [
        (6, 6), (6, 5), (0, 0), (6, 0)]


def test_passes_are_shared(network, drawn, monkeypatch):
    engine = BatchEngine(network, MAX_LENGTH, COUNT)
    passes = []
    extend = network.language_model.extend
    monkeypatch.setattr(network.language_model, 'extend', lambda embeddings, *rest: (
        passes.append(embeddings.shape[0]), extend(embeddings, *rest))[1])
    check(engine, drawn[:5])
    assert passes == [5] * COUNT
    passes.clear()
    check(engine, drawn[:5], [case.tokens for case in drawn[:5]])
    assert passes == [5]


def test_a_batch_does_not_depend_on_earlier_ones(network, drawn):
    engine = BatchEngine(network, MAX_LENGTH, COUNT)
    longest, shortest = (choose(drawn, key=lambda case: len(case.prompt)) for choose in (max, min))
    for batch in ([shortest], [longest, shortest], [shortest, longest], drawn[:8], [shortest],
                  [shortest, shortest], [longest, *drawn[:8]], [longest]):
        check(engine, batch)
        check(engine, batch, [wrong(case, 2) for case in batch])


def test_memory_grows_with_the_largest_batch_and_is_kept(network, drawn):
    engine = BatchEngine(network, MAX_LENGTH, COUNT)
    assert engine._buffers is None
    check(engine, drawn[:2])
    check(engine, drawn[:5])
    kept = engine._buffers
    assert kept.size == 5
    check(engine, drawn[:3])
    check(engine, drawn[:1])
    assert engine._buffers is kept


class Recording(PlainCalls):
    """Records as a GPU does: into buckets, slowly, and only what runs on other buffers, too."""

    def __init__(self):
        super().__init__(bucket=8, is_slow=True)
        object.__setattr__(self, 'ran', [])

    def record(self, run, buffers):
        with torch.inference_mode():
            run(buffers.scratch())
        return lambda: (self.ran.append(run), run(buffers))[1]


def test_captured_passes_serve_the_next_power_of_two(network, drawn):
    recorder = Recording()
    engine = BatchEngine(network, MAX_LENGTH, COUNT, recorder)
    for size in (3, 5, 8, 1, 3):
        chosen = drawn[:size]
        # Until the background thread has captured the passes, they run eagerly.
        for _ in range(200):
            recorder.ran.clear()
            check(engine, chosen, [wrong(case, 3) for case in chosen])
            check(engine, chosen)
            if len(recorder.ran) > COUNT + 1:
                break
        assert len(recorder.ran) > COUNT + 1
    assert set(engine._graphs) <= {1, 4, 8}


def test_prepared_sizes_are_captured_before_the_first_batch(network, drawn):
    recorder = Recording()
    engine = BatchEngine(network, MAX_LENGTH, COUNT, recorder)
    engine.prepare((1, 2, 4), max(len(case.prompt) for case in drawn))
    kept = engine._buffers
    for size in (1, 2, 4):
        recorder.ran.clear()
        check(engine, drawn[:size])
        assert len(recorder.ran) == COUNT, 'a pass ran eagerly'
    assert engine._buffers is kept
