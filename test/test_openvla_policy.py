# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The policy over several frames: drafts, independence of results, allocations."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402
from vla_ros.util.demo_checkpoint import ensure_checkpoint  # noqa: E402, I100


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return ensure_checkpoint(tmp_path_factory.mktemp('demo') / 'checkpoint')


@pytest.fixture(scope='module')
def policy(checkpoint):
    return load_policy(PolicyConfig(str(checkpoint), device='cpu'))


def frame(seed):
    return np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def test_a_loaded_policy_starts_without_a_draft(policy):
    policy.reset()
    assert policy.infer(Observation((frame(0),), 'pick up the cup')).drafted == 0


def test_a_repeated_frame_accepts_its_draft_and_reset_discards_it(policy):
    observation = Observation((frame(1),), 'pick up the cup')
    policy.reset()
    first = policy.infer(observation)
    again = policy.infer(observation)
    assert (again.drafted, again.accepted) == (6, 6)
    assert again.token_ids == first.token_ids
    policy.reset()
    assert policy.infer(observation).drafted == 0


def test_results_do_not_depend_on_earlier_frames_and_instructions(policy):
    observations = [Observation((frame(seed),), instruction)
                    for seed in range(4) for instruction in ('pick up the cup', 'wait', 'xyz')]
    expected = []
    for observation in observations:
        policy.reset()
        expected.append(policy.infer(observation))
    policy.reset()
    for observation, single in zip(observations, expected):
        chunk = policy.infer(observation)
        assert chunk.token_ids == single.token_ids
        assert chunk.input_ids == single.input_ids
        np.testing.assert_array_equal(chunk.actions, single.actions)


def test_a_result_is_not_overwritten_by_the_next_one(policy):
    chunks = [policy.infer(Observation((frame(seed),), 'pick up the cup')) for seed in (5, 6)]
    policy.reset()
    single = policy.infer(Observation((frame(5),), 'pick up the cup'))
    np.testing.assert_allclose(chunks[0].margins, single.margins, atol=1e-3)
    assert chunks[0].timings_ms is not chunks[1].timings_ms


def test_timings_name_the_stages_in_their_order(policy):
    chunk = policy.infer(Observation((frame(0),), 'pick up the cup'))
    assert list(chunk.timings_ms) == [
        'preprocess', 'vision', 'prefill', 'decode', 'read-back', 'post']
    assert min(chunk.timings_ms.values()) >= 0


@pytest.mark.parametrize('view', ['rgb8', 'bgr8', 'padded'])
def test_an_inference_allocates_no_array_of_the_frames_size(policy, view):
    message = np.random.default_rng(0).integers(0, 256, (480, 700, 3), dtype=np.uint8)
    image = {'rgb8': np.ascontiguousarray(message[:, :640]), 'bgr8': message[:, :640, ::-1],
             'padded': message[:, :640]}[view]
    observation = Observation((image,), 'pick up the cup')
    for _ in range(5):
        policy.infer(observation)
    tracemalloc.start()
    try:
        for _ in range(10):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            policy.infer(observation)
        # The total, small arrays of the result included: no block can be as large as an
        # array of a row of the image.
        assert tracemalloc.get_traced_memory()[1] - before < 8 * 1024
        kept = tracemalloc.take_snapshot()
        results = [policy.infer(observation) for _ in range(20)]
        grown = tracemalloc.take_snapshot().compare_to(kept, 'lineno')
        assert len(results) == 20
        assert max(line.size_diff / max(line.count_diff, 1) for line in grown) < 1024
    finally:
        tracemalloc.stop()


def test_loading_leaves_one_core_to_other_processes(checkpoint):
    environment = {key: value for key, value in os.environ.items() if key != 'OMP_NUM_THREADS'}
    code = ('import sys, torch; from vla_ros.policy.config import PolicyConfig; '
            'from vla_ros.policy.load import load_policy; '
            'load_policy(PolicyConfig(sys.argv[1], device="cpu", warmup=False)); '
            'print(torch.get_num_threads())')
    done = subprocess.run([sys.executable, '-c', code, str(checkpoint)], check=True, text=True,
                          capture_output=True, env=environment)
    assert 1 <= int(done.stdout) <= max(1, len(os.sched_getaffinity(0)) - 1)
