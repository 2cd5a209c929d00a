# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Captured passes of OpenVLA-OFT give the chunks of eager ones, also if a capture fails."""

import threading

from fake_cuda import FakeCuda
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from test_oft import CASES  # noqa: E402, I100
from test_oft import copied_checkpoint  # noqa: E402, F401
from test_oft import film_modules  # noqa: E402
from test_oft import load  # noqa: E402
from test_oft import observe  # noqa: E402
from test_oft import stored  # noqa: E402, F401
from test_oft import write_diffusion_modules  # noqa: E402
from vla_ros.model.graph_capture import CudaGraphs  # noqa: E402
from vla_ros.model.graph_capture import PlainCalls  # noqa: E402
from vla_ros.model.parallel_decoder import ParallelDecoder  # noqa: E402

CHANGED = ('hidden', 'values', 'tokens', 'margins', 'visual', 'layer_cache', 'noisy', 'time')


class SlowCapture(PlainCalls):
    """Captures like a GPU, slowly and on scratch buffers; keeps captured and replayed passes."""

    def __init__(self):
        super().__init__(is_slow=True)
        object.__setattr__(self, 'recorded', [])
        object.__setattr__(self, 'ran', [])

    def record(self, run, buffers):
        scratch = buffers.scratch()
        for name in CHANGED:
            ours, theirs = getattr(scratch, name), getattr(buffers, name)
            assert ours.data_ptr() != theirs.data_ptr(), f'{name} is shared'
        with torch.inference_mode():
            run(scratch)
        self.recorded.append(run)
        return lambda: (self.ran.append(run), run(buffers))[1]


def with_capture(policy, capture):
    old = policy.decoder
    policy.decoder = ParallelDecoder(old.network, old.modules, policy.spec.action_shape,
                                     policy.spec.image_count, capture)
    return policy


def join_captures():
    for thread in threading.enumerate():
        if thread.name == 'vla_graphs':
            thread.join(60)
            assert not thread.is_alive()


def infer(policy, case):
    """Infer, and wait for the captures of it."""
    chunk = policy.infer(observe(case))
    join_captures()
    return chunk


def assert_same_chunk(chunk, expected):
    np.testing.assert_array_equal(chunk.normalized, expected.normalized)
    assert chunk.token_ids == expected.token_ids
    np.testing.assert_array_equal(chunk.margins, expected.margins)


@pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])
def test_captured_passes_give_the_chunks_of_eager_passes(oft_checkpoint, case):
    expected = load(oft_checkpoint, case).infer(observe(case))
    capture = SlowCapture()
    policy = with_capture(load(oft_checkpoint, case), capture)
    assert len(capture.recorded) == 1
    assert_same_chunk(infer(policy, case), expected)
    assert len(capture.ran) == 1 and len(capture.recorded) == 2, 'a frame waited'
    for number in (2, 3):
        assert_same_chunk(infer(policy, case), expected)
        assert len(capture.ran) == 1 + 2 * (number - 1), 'a captured pass is not used'
    assert len(capture.recorded) == 2


def test_a_diffusion_step_is_captured_once(copied_checkpoint, stored):  # noqa: F811
    write_diffusion_modules(copied_checkpoint, stored[1])
    expected = load(copied_checkpoint, CASES[1], head='auto').infer(observe(CASES[1]))
    capture = SlowCapture()
    policy = with_capture(load(copied_checkpoint, CASES[1], head='auto'), capture)
    infer(policy, CASES[1])
    capture.ran.clear()
    assert_same_chunk(infer(policy, CASES[1]), expected)
    assert len(capture.recorded) == 2 and len(capture.ran) == 1 + 50


def test_a_new_instruction_updates_prompt_and_film(copied_checkpoint, stored):  # noqa: F811
    part, _, _ = film_modules(stored[0], rank=4)
    torch.save(part, copied_checkpoint / 'vision_backbone--150000_checkpoint.pt')
    first, second = CASES[2], {**CASES[2], 'instruction': 'push the plate'}
    policy = with_capture(load(copied_checkpoint, first), SlowCapture())
    expected = [load(copied_checkpoint, first).infer(observe(case)) for case in (first, second)]
    assert np.abs(expected[0].normalized - expected[1].normalized).max() > 0.01
    for _ in range(2):
        for case, chunk in zip((first, second), expected):
            assert_same_chunk(infer(policy, case), chunk)
    policy.decoder.reset()
    assert_same_chunk(infer(policy, second), expected[1])


def test_graphs_of_the_latest_prompt_lengths_are_kept(oft_checkpoint):
    capture = SlowCapture()
    policy = with_capture(load(oft_checkpoint, CASES[0]), capture)
    decoder = policy.decoder
    for length in range(5, 16):
        decoder.set_prompt(tuple(range(1, length)))
        decoder.prepare()
    assert decoder._captures.lengths() == list(range(7, 15))
    # The graph of a dropped length is captured again on use.
    decoder.set_prompt(tuple(range(1, 5)))
    decoder.predict()
    join_captures()
    assert decoder._captures.lengths() == [*range(8, 15), 4]


def test_if_capture_fails_passes_run_eagerly(oft_checkpoint, caplog):
    case, cuda = CASES[0], FakeCuda()
    expected = load(oft_checkpoint, case).infer(observe(case))
    cuda.fail_next_end = True
    policy = with_capture(load(oft_checkpoint, case), CudaGraphs(torch.device('cuda'), cuda))
    for _ in range(3):
        assert_same_chunk(infer(policy, case), expected)
    assert 'the pass of the images cannot be captured' in caplog.text
    assert 'operation failed due to a previous error during capture' in caplog.text
    assert caplog.text.count('the passes of prompts of') == 1, 'tried again, or not logged'


def test_a_failed_capture_of_one_prompt_does_not_affect_others(oft_checkpoint, caplog):
    class Broken(SlowCapture):

        def record(self, run, buffers):
            if len(self.recorded) == 1 and not self.failed:
                self.failed.append(run)
                raise RuntimeError('the first error')
            return super().record(run, buffers)

    case, capture = CASES[0], Broken()
    object.__setattr__(capture, 'failed', [])
    other = {**case, 'instruction': 'push the large plate'}
    plain = load(oft_checkpoint, case)
    expected = [plain.infer(observe(one)) for one in (case, other)]
    policy = with_capture(load(oft_checkpoint, case), capture)
    for _ in range(2):
        for one, chunk in zip((case, other), expected):
            assert_same_chunk(infer(policy, one), chunk)
    assert capture.failed and caplog.text.count('RuntimeError: the first error') == 1
    assert policy.decoder._captures.lengths() == [len(policy.decoder._prompt)]
