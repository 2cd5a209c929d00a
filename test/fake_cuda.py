# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""PyTorch's CUDA interface on a CPU: keeps the allocator's rules of captures, and an event log."""

from contextlib import contextmanager


class FakeStream:
    """A stream that logs its calls."""

    def __init__(self, cuda):
        self._cuda = cuda

    def wait_stream(self, other):
        self._cuda.log.append(('wait', self, other))

    def synchronize(self):
        self._cuda.log.append(('synchronize', self))


class FakeGraph:
    """A graph whose failed capture leaves its pool in the state of a capture, as in PyTorch."""

    def __init__(self, cuda):
        self._cuda = cuda
        self._pool = None

    def capture_begin(self, pool, capture_error_mode):
        assert capture_error_mode == 'thread_local'
        if pool in self._cuda.capturing:
            raise RuntimeError('beginAllocateToPool: already recording to mempool_id')
        self._cuda.capturing.add(pool)
        self._cuda.log.append(('begin', self._cuda.current, pool))
        self._pool = pool

    def capture_end(self):
        if self._cuda.fail_next_end:
            raise RuntimeError('operation failed due to a previous error during capture')
        self._cuda.capturing.discard(self._pool)

    def replay(self):
        self._cuda.log.append(('replay', self._pool))


class FakeCuda:
    """
    The part of ``torch.cuda`` that captures use.

    :ivar fail_next_end: whether ending a capture fails, as after an error within it.
    """

    def __init__(self):
        self.log, self.capturing, self.pools = [], set(), 0
        self.fail_next_end = False
        self.default = self.current = FakeStream(self)

    def Stream(self, device):  # noqa: N802 the name is PyTorch's
        return FakeStream(self)

    def CUDAGraph(self):  # noqa: N802
        return FakeGraph(self)

    def graph_pool_handle(self):
        self.pools += 1
        return self.pools

    def current_stream(self, device):
        return self.current

    def empty_cache(self):
        self.log.append(('empty_cache',))

    @contextmanager
    def device(self, device):
        yield

    @contextmanager
    def stream(self, stream):
        self.current, before = stream, self.current
        try:
            yield
        finally:
            self.current = before
