# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Capture of CUDA graphs: warm-up, streams, and recovery from failed captures."""

from types import SimpleNamespace

from fake_cuda import FakeCuda
import pytest

torch = pytest.importorskip('torch')

from vla_ros.model.graph_capture import choose_recorder  # noqa: E402, I100
from vla_ros.model.graph_capture import CudaGraphs  # noqa: E402
from vla_ros.model.graph_capture import PlainCalls  # noqa: E402
from vla_ros.model.quantize import capture_obstacle  # noqa: E402


class Buffers:
    """Counts the passes that ran on it and on its scratch copies."""

    def __init__(self):
        self.copies, self.runs = [], 0

    def scratch(self):
        self.copies.append(Buffers())
        return self.copies[-1]


def run(buffers):
    buffers.runs += 1


@pytest.fixture
def cuda():
    return FakeCuda()


@pytest.fixture
def graphs(cuda):
    return CudaGraphs(torch.device('cuda'), cuda)


def test_a_pass_is_warmed_up_on_scratch_buffers_after_the_work_of_the_caller(cuda, graphs):
    buffers = Buffers()
    replay = graphs.record(run, buffers)
    assert [copy.runs for copy in buffers.copies] == [1]
    names = [event[0] for event in cuda.log]
    assert names == ['wait', 'synchronize', 'begin']
    waiting, waited_for = cuda.log[0][1:]
    assert waited_for is cuda.default and waiting is cuda.log[1][1]
    assert cuda.log[2][1] not in (cuda.default, waiting), 'the capturing stream never executes'
    replay()
    assert cuda.log[-1] == ('replay', 1)


@pytest.mark.parametrize('end_fails', [False, True])
def test_a_failed_capture_raises_its_first_error_and_the_next_capture_works(
        cuda, graphs, end_fails):
    graphs.record(run, Buffers())
    began = []

    def broken(buffers):
        began.append(buffers)
        if len(began) == 2:  # the warm-up passes
            cuda.fail_next_end = end_fails
            raise ValueError('the first error')

    with pytest.raises(ValueError, match='the first error'):
        graphs.record(broken, Buffers())
    cuda.fail_next_end = False
    graphs.record(run, Buffers())()
    assert cuda.log[-1] == ('replay', 2), 'the pool of the failed capture is used again'
    assert len(graphs._failed) == 1 and graphs.captured == 2


def test_after_a_capture_that_cannot_end_a_new_memory_pool_is_used(cuda, graphs):
    def fail_at_end(buffers):
        cuda.fail_next_end = True

    with pytest.raises(RuntimeError, match='during capture'):
        graphs.record(fail_at_end, Buffers())
    cuda.fail_next_end = False
    graphs.record(run, Buffers())
    assert cuda.log[-1][2] == 2


def test_a_capture_that_cannot_begin_raises_its_own_error(cuda, graphs):
    cuda.capturing.add(1)
    with pytest.raises(RuntimeError, match='already recording'):
        graphs.record(run, Buffers())
    graphs.record(run, Buffers())()
    assert cuda.log[-1] == ('replay', 2)


def test_a_failed_warm_up_starts_no_capture(cuda, graphs):
    def broken(buffers):
        raise ValueError('no kernel')

    with pytest.raises(ValueError, match='no kernel'):
        graphs.record(broken, Buffers())
    assert not graphs._failed and not cuda.capturing


def test_trim_returns_the_memory_of_warm_ups(cuda, graphs):
    graphs.trim()
    assert cuda.log == [('empty_cache',)]


class Int8(torch.nn.Linear):
    """A layer like bitsandbytes', with the threshold of LLM.int8()."""

    def __init__(self, threshold):
        super().__init__(4, 4)
        self.state = SimpleNamespace(threshold=threshold)


def test_layers_that_synchronize_with_the_host_are_not_captured(caplog):
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), Int8(6.0))
    assert 'int8 of bitsandbytes' in capture_obstacle(network)
    assert capture_obstacle(torch.nn.Sequential(Int8(0.0))) is None
    network.device = torch.device('cuda')
    assert choose_recorder(network) == PlainCalls()
    assert 'the passes run without CUDA graphs: int8 of bitsandbytes' in caplog.text
