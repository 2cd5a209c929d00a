# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The engine with CUDA graphs gives the tokens of plain decoding."""

from copy import deepcopy
import threading

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('transformers')

from goldens import CASES  # noqa: E402, I100
from goldens import rgb  # noqa: E402
from test_engine import cases  # noqa: E402
from test_engine import COUNT  # noqa: E402
from test_engine import random_network  # noqa: E402
from vla_ros.model.engine import Engine  # noqa: E402
from vla_ros.model.graph_capture import CudaGraphs  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')]

CUDA = torch.device('cuda')


def on_gpu(network):
    return deepcopy(network).to(CUDA)


def join_captures():
    for thread in threading.enumerate():
        if thread.name == 'vla_graphs':
            thread.join(60)
            assert not thread.is_alive()


def test_the_smallest_network_has_the_tokens_of_plain_decoding():
    network = random_network(2, 2, 1, 1)
    case = cases(network, 10)[0]
    engine = Engine(on_gpu(network), 64, COUNT)
    engine.prepare([20, 30])
    assert case.run(engine).token_ids == case.tokens
    assert case.run(engine, case.tokens).accepted == 6


def test_200_cases_have_the_tokens_of_plain_decoding_with_and_without_a_draft():
    random, compared = np.random.default_rng(1), 0
    for seed, (heads, kv_heads, layers) in enumerate([(4, 4, 2), (4, 4, 3)]):
        network = random_network(seed, heads, kv_heads, layers)
        engine = Engine(on_gpu(network), 64, COUNT)
        engine.prepare(range(2, 32))
        previous = [0] * COUNT
        for case in cases(network, 110, seed):
            almost = np.where(random.random(COUNT) < 0.3, 0, case.tokens).tolist()
            for draft in (None, previous, almost, case.tokens):
                assert case.run(engine, draft).token_ids == case.tokens
            previous, compared = case.tokens, compared + 1
        assert engine._recorder.captured > 4, 'the graphs were not captured'
    assert compared >= 200


@pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])
def test_golden_cases_have_the_official_tokens(golden_checkpoints, case):
    policy = load_policy(PolicyConfig(
        str(golden_checkpoints['float32']), case['unnorm_key'], device='cuda', dtype='float32',
        prompt=case['template'], clip_invalid=True))
    policy.reset()
    observation = Observation((rgb(case['image']),), case['instruction'])
    for accepted in (0, 6):
        chunk = policy.infer(observation)
        assert list(chunk.token_ids) == case['action_token_ids']
        assert chunk.accepted == accepted


def test_graphs_are_captured_while_the_engine_runs():
    network = random_network(0)
    engine = Engine(on_gpu(network), 64, COUNT)
    engine.prepare([35])
    ready, drawn = engine._recorder.captured, cases(network, 60, seed=4)
    for _ in range(3):
        for case in drawn:
            assert case.run(engine).token_ids == case.tokens
            assert case.run(engine, case.tokens).token_ids == case.tokens
    join_captures()
    assert engine._recorder.captured > ready
    for case in drawn:
        assert case.run(engine, case.tokens).token_ids == case.tokens


def test_a_failed_capture_does_not_affect_other_graphs(caplog):
    network = random_network(0)
    recorder = CudaGraphs(CUDA)
    engine = Engine(on_gpu(network), 64, COUNT, recorder)
    engine.prepare([35])

    def waits_for_the_host(buffers):
        buffers.decided.item()

    for _ in range(2):
        with pytest.raises(RuntimeError):
            recorder.record(waits_for_the_host, engine.buffers)
    engine.prepare([2, 18])
    assert 'cannot be captured' not in caplog.text
    for case in cases(network, 20, seed=5):
        assert case.run(engine).token_ids == case.tokens
