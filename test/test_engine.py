# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The engine gives the tokens of plain decoding, with drafts, buckets and captured passes."""

from dataclasses import dataclass
from dataclasses import replace
import threading

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('transformers')

from hypothesis import given  # noqa: E402, I100
from hypothesis import settings  # noqa: E402
from hypothesis import strategies  # noqa: E402

from vla_ros.bench.baseline import share_weights  # noqa: E402
from vla_ros.model.attention import attend_sdpa  # noqa: E402
from vla_ros.model.config import LlamaConfig  # noqa: E402
from vla_ros.model.config import OpenVlaConfig  # noqa: E402
from vla_ros.model.config import VitConfig  # noqa: E402
from vla_ros.model.engine import Engine  # noqa: E402
from vla_ros.model.graph_capture import PlainCalls  # noqa: E402
from vla_ros.model.network import OpenVlaNetwork  # noqa: E402
from vla_ros.model.timings import HostTimings  # noqa: E402

# Tiny tensors: threads would only wait for each other.
torch.set_num_threads(1)

SIDE, COUNT, VOCABULARY = 28, 7, 40
# Two results of float32 arithmetic differ in the order of sums; where the two best tokens are as
# close as that the tokens are ambiguous.
TIE = 1e-3
PASSES = ('prefill', 'prefill_verify', 'decode', 'decode_verify')
tokens = strategies.integers(0, VOCABULARY - 1)


def random_network(seed, heads=4, kv_heads=4, layers=2):
    """Build a small network with large weights, so that every token depends on every input."""
    torch.manual_seed(seed)
    tower = VitConfig(SIDE, 14, 16, 3, 2, init_values=1.0, reg_tokens=2, no_embed_class=True)
    config = OpenVlaConfig(
        (tower, VitConfig(SIDE, 14, 16, 3, 2, class_token=False)),
        LlamaConfig(VOCABULARY, 8 * heads, 48, layers, heads, kv_heads),
        'llama2-7b-pure', 256, VOCABULARY, {})
    network = OpenVlaNetwork(config, attend_sdpa)
    for name, weight in network.named_parameters():
        torch.nn.init.normal_(weight, 1.0 if 'norm' in name else 0.0, 0.5)
    return network.requires_grad_(False).eval()


@dataclass(frozen=True)
class Case:
    """An observation and its tokens by plain decoding."""

    pixels: torch.Tensor
    prompt: tuple
    tokens: list

    def run(self, engine, draft=None):
        """Decode it with an engine, with a draft or without."""
        engine.pixels.copy_(self.pixels[None])
        engine.reset()
        engine.set_prompt(self.prompt)
        if draft is not None:
            engine.draft(draft)
        return engine.run(HostTimings())


@torch.inference_mode()
def draw(network, llama, random, size=10):
    """Draw observations with prompts of one length, and let transformers decode all at once."""
    pixels = torch.from_numpy(random.normal(0, 1, (size, 6, SIDE, SIDE)).astype(np.float32))
    prompts = torch.from_numpy(random.integers(0, VOCABULARY, (size, random.integers(2, 30))))
    text = llama.get_input_embeddings()(prompts)
    embeddings = torch.cat([text[:, :1], network.embed_image(pixels), text[:, 1:]], dim=1)
    results = llama.generate(
        inputs_embeds=embeddings, max_new_tokens=COUNT, do_sample=False,
        attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.int64))
    return [Case(*row) for row in zip(pixels, map(tuple, prompts.tolist()), results.tolist())]


def cases(network, count, seed=0):
    """Draw observations with unambiguous tokens, which the engine gives without a draft."""
    llama, engine = share_weights(network), Engine(network, 64, COUNT)
    random = np.random.default_rng(seed)
    drawn = [case for _ in range(count // 10) for case in draw(network, llama, random)]
    unambiguous = []
    for case in drawn:
        decoded = case.run(engine)
        if decoded.margins.min() > TIE:
            assert decoded.token_ids == case.tokens
            unambiguous.append(case)
    return unambiguous


@pytest.fixture(scope='module')
def network():
    return random_network(0)


@pytest.fixture(scope='module')
def case(network):
    return cases(network, 10)[0]


def test_500_cases_have_the_tokens_of_plain_decoding_with_and_without_a_draft():
    random, compared = np.random.default_rng(1), 0
    for seed, (heads, kv_heads, layers) in enumerate([(4, 4, 2), (4, 2, 2), (2, 1, 1), (4, 4, 3)]):
        network = random_network(seed, heads, kv_heads, layers)
        engine, previous = Engine(network, 64, COUNT), [0] * COUNT
        for case in cases(network, 130, seed):
            almost = np.where(random.random(COUNT) < 0.3, 0, case.tokens).tolist()
            for draft in (previous, almost):
                assert case.run(engine, draft).token_ids == case.tokens
            previous, compared = case.tokens, compared + 1
    assert compared >= 500


def test_the_cases_have_different_results(network):
    results = {tuple(case.tokens) for case in cases(network, 20)}
    assert len(results) > 15


@settings(max_examples=150, deadline=None, derandomize=True)
@given(draft=strategies.lists(tokens, min_size=COUNT, max_size=COUNT),
       right=strategies.sets(strategies.integers(0, COUNT - 1)))
def test_any_draft_gives_the_tokens_of_plain_decoding(network, case, draft, right):
    draft = [case.tokens[place] if place in right else token
             for place, token in enumerate(draft)]
    decoded = case.run(Engine(network, 64, COUNT), draft)
    assert decoded.token_ids == case.tokens
    assert decoded.drafted == COUNT - 1
    assert 0 <= decoded.accepted <= sum(
        ours == theirs for ours, theirs in zip(draft[:-1], case.tokens))


def test_margins_do_not_depend_on_the_draft(network, case):
    engine = Engine(network, 64, COUNT)
    expected = case.run(engine).margins
    for draft in ([0] * COUNT, case.tokens, [0, *case.tokens[1:]]):
        np.testing.assert_allclose(case.run(engine, draft).margins, expected, rtol=0, atol=1e-4)


def passes_of(engine, monkeypatch):
    """Record the names of the passes that an engine runs."""
    ran = []
    find = engine._graphs.find

    def find_recorded(length):
        graphs = find(length)
        return replace(graphs, **{name: recorded(name, getattr(graphs, name)) for name in PASSES})

    def recorded(name, run):
        return lambda: (ran.append(name), run())
    monkeypatch.setattr(engine._graphs, 'find', find_recorded)
    return ran


@pytest.mark.parametrize(('wrong', 'expected', 'accepted'), [
    ((), ['prefill_verify'], 6),
    ((6,), ['prefill_verify'], 6),
    ((5,), ['prefill_verify', 'decode'], 5),
    ((0,), ['prefill_verify', 'decode_verify'], 5),
    ((1, 4), ['prefill_verify', 'decode_verify', 'decode_verify'], 4),
    ((0, 1, 2, 3, 4, 5), ['prefill_verify', 'decode_verify', *['decode'] * 5], 0),
])
def test_each_accepted_draft_token_saves_a_pass(network, case, monkeypatch, wrong, expected,
                                                accepted):
    engine = Engine(network, 64, COUNT)
    ran = passes_of(engine, monkeypatch)
    draft = [(token + 1) % VOCABULARY if place in wrong else token
             for place, token in enumerate(case.tokens)]
    decoded = case.run(engine, draft)
    assert decoded.token_ids == case.tokens
    assert ran == expected
    assert (decoded.drafted, decoded.accepted) == (6, accepted)


def run_with_draft(engine, ran, case, draft):
    """Decode with a draft; return the names of the passes that ran."""
    engine.draft(draft)
    ran.clear()
    assert engine.run(HostTimings()).token_ids == case.tokens
    return list(ran)


def test_a_draft_rejected_twice_costs_an_extra_pass_only_once(network, case, monkeypatch):
    engine = Engine(network, 64, COUNT)
    wrong = [(token + 1) % VOCABULARY for token in case.tokens]
    case.run(engine)
    ran = passes_of(engine, monkeypatch)
    assert run_with_draft(engine, ran, case, wrong) == ['prefill_verify', 'decode_verify',
                                                        *['decode'] * 5]
    assert run_with_draft(engine, ran, case, wrong) == ['prefill_verify', *['decode'] * 6]


def test_after_rejected_drafts_verification_pauses_until_a_draft_matches(
        network, case, monkeypatch):
    engine = Engine(network, 64, COUNT)
    wrong = [(token + 1) % VOCABULARY for token in case.tokens]
    first_token_right = [case.tokens[0], *wrong[1:2], *case.tokens[2:]]
    plain = ['prefill', *['decode'] * 6]
    case.run(engine)
    ran = passes_of(engine, monkeypatch)
    for _ in range(2):
        assert run_with_draft(engine, ran, case, wrong)[0] == 'prefill_verify'
    for _ in range(5):
        assert run_with_draft(engine, ran, case, wrong) == plain
    # A draft that would have been accepted, although it was not verified, turns verification on.
    assert run_with_draft(engine, ran, case, first_token_right) == plain
    assert run_with_draft(engine, ran, case, first_token_right) == ['prefill_verify',
                                                                    'decode_verify']
    # And so does a reset.
    for _ in range(3):
        run_with_draft(engine, ran, case, wrong)
    assert ran == plain
    engine.reset()
    engine.set_prompt(case.prompt)
    assert run_with_draft(engine, ran, case, wrong)[0] == 'prefill_verify'


def test_tokens_are_exact_while_verification_of_drafts_turns_on_and_off(network):
    drawn = cases(network, 60, seed=9)
    engine, random, drafted = Engine(network, 64, COUNT), np.random.default_rng(9), []
    for _ in range(4):
        for case in drawn:  # without a reset: the previous tokens are the draft
            engine.pixels.copy_(case.pixels[None])
            engine.set_prompt(case.prompt)
            for _ in range(random.integers(1, 3)):
                decoded = engine.run(HostTimings())
                assert decoded.token_ids == case.tokens
                drafted.append(decoded.drafted > 0)
    assert 50 < sum(drafted) < len(drafted) - 50


def test_the_previous_action_is_the_draft_until_a_reset(network, case):
    engine = Engine(network, 64, COUNT)
    first = case.run(engine)
    assert (first.drafted, first.accepted) == (0, 0)
    again = engine.run(HostTimings())
    assert (again.drafted, again.accepted) == (6, 6)
    engine.reset()
    engine.set_prompt(case.prompt)
    assert engine.run(HostTimings()).drafted == 0


def test_a_result_does_not_depend_on_earlier_ones(network):
    drawn = cases(network, 20, seed=5)
    engine = Engine(network, 64, COUNT)
    for _ in range(2):
        for case in drawn:  # prompts of many lengths, in the same buffers
            assert case.run(engine).token_ids == case.tokens
            engine.set_prompt(case.prompt)
            assert engine.run(HostTimings()).token_ids == case.tokens


class SlowCapture(PlainCalls):
    """Captures like a GPU: per length bucket, slowly, after a run on scratch buffers."""

    def __init__(self):
        super().__init__(bucket=8, is_slow=True)
        object.__setattr__(self, 'may_finish', threading.Event())
        object.__setattr__(self, 'recorded', [])

    def record(self, run, buffers):
        self.may_finish.wait(10)
        before = [tensor.clone() for tensor in (buffers.sequence, buffers.results, buffers.end)]
        with torch.inference_mode():
            run(buffers.scratch())
        for old, tensor in zip(before, (buffers.sequence, buffers.results, buffers.end)):
            assert torch.equal(old, tensor), 'the scratch run changed buffers of the engine'
        self.recorded.append(run)
        return super().record(run, buffers)


def test_passes_padded_to_a_bucket_give_the_same_tokens(network):
    capture = SlowCapture()
    capture.may_finish.set()
    engine = Engine(network, 64, COUNT, capture)
    engine.prepare(range(2, 40))
    for case in cases(network, 40, seed=3):
        assert case.run(engine).token_ids == case.tokens
        for draft in ([0] * COUNT, case.tokens, [0, *case.tokens[1:]]):
            assert case.run(engine, draft).token_ids == case.tokens


def test_a_new_prompt_is_inferred_while_its_passes_are_captured(network, monkeypatch):
    capture = SlowCapture()
    capture.may_finish.set()
    engine = Engine(network, 64, COUNT, capture)
    engine.prepare([35])
    ready = len(capture.recorded)
    capture.may_finish.clear()
    drawn = cases(network, 20, seed=4)
    for case in drawn:  # none of these waits for the capture
        assert case.run(engine).token_ids == case.tokens
    assert len(capture.recorded) == ready
    capture.may_finish.set()
    for thread in threading.enumerate():
        if thread.name == 'vla_graphs':
            thread.join(10)
    assert len(capture.recorded) > ready
    lengths = []
    monkeypatch.setattr(engine._graphs._captures, 'start', lengths.append)
    for case in drawn:
        assert case.run(engine).token_ids == case.tokens
    assert not lengths, 'a captured bucket is not used'


def test_passes_run_eagerly_before_any_capture(network, case):
    capture = SlowCapture()
    capture.may_finish.set()
    engine = Engine(network, 64, COUNT, capture)
    capture.may_finish.clear()
    try:
        assert case.run(engine).token_ids == case.tokens
        assert case.run(engine, case.tokens).accepted == 6
    finally:
        capture.may_finish.set()


def test_a_failed_capture_is_logged_and_passes_run_eagerly(network, case, caplog):
    class Broken(SlowCapture):

        def record(self, run, buffers):
            if hasattr(run, 'func'):  # a pass of a bucket
                raise RuntimeError('capture failed')
            return super().record(run, buffers)

    capture = Broken()
    capture.may_finish.set()
    engine = Engine(network, 64, COUNT, capture)
    assert case.run(engine).token_ids == case.tokens
    for thread in threading.enumerate():
        if thread.name == 'vla_graphs':
            thread.join(10)
    assert 'cannot be captured' in caplog.text
    assert case.run(engine, case.tokens).token_ids == case.tokens


def test_a_single_token_is_decoded_without_a_draft(network, case):
    engine = Engine(network, 64, 1)
    for _ in range(2):
        engine.pixels.copy_(case.pixels[None])
        engine.set_prompt(case.prompt)
        decoded = engine.run(HostTimings())
        assert decoded.token_ids == case.tokens[:1]
        assert (decoded.drafted, decoded.accepted) == (0, 0)
