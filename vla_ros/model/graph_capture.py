# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Recorders of forward passes: CUDA graphs on a GPU, direct calls elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
import logging
import threading
from typing import Any
from typing import Protocol
from typing import TypeVar

import torch

from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.quantize import capture_obstacle

_logger = logging.getLogger(__name__)


class Memory(Protocol):
    """The memory that a pass reads and writes."""

    def scratch(self) -> Any:
        """Allocate the like, with contents on which the pass can run."""


B = TypeVar('B', bound=Memory)


class Recorder(Protocol):
    """Makes a pass over buffers ready to run many times."""

    @property
    def bucket(self) -> int:
        """Prompts are padded to a multiple of this, which limits the number of recordings."""

    @property
    def is_slow(self) -> bool:
        """Whether a recording takes too long for a frame to wait for it."""

    def record(self, run: Callable[[B], None], buffers: B) -> Callable[[], None]:
        """Return a function that runs the pass; called from any thread."""

    def trim(self) -> None:
        """Free the memory that recordings needed only while they were made."""


@dataclass(frozen=True)
class PlainCalls:
    """No recording: the pass itself is called, on the exact length."""

    bucket: int = 1
    is_slow: bool = False

    def record(self, run: Callable[[B], None], buffers: B) -> Callable[[], None]:
        """Bind the buffers."""
        return lambda: run(buffers)

    def trim(self) -> None:
        """Do nothing: nothing was allocated."""


class CudaGraphs:
    """
    Captures each pass as a CUDA graph: one launch instead of a thousand.

    A capture executes nothing, so it may happen while other graphs work on the same buffers. The
    warm-up before it does execute: libraries select and load their kernels at the first call,
    which no capture allows. It runs on scratch buffers, on a stream that never captures. The
    capturing stream in turn never executes: cuBLAS keeps a workspace for each stream, and the
    workspace of a graph must belong to graphs alone. Graphs may share it, because one thread
    replays them one after the other.

    :ivar captured: number of graphs captured.
    """

    bucket = 16
    is_slow = True

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        """
        Create the streams and the memory pool that all graphs share.

        :param cuda: the CUDA interface of PyTorch, which tests replace.
        """
        self.captured = 0
        self._cuda = cuda
        self._device = device
        self._warmup_stream = cuda.Stream(device)
        self._capture_stream = cuda.Stream(device)
        self._pool = cuda.graph_pool_handle()
        self._lock = threading.Lock()
        self._failed: list[Any] = []

    def record(self, run: Callable[[B], None], buffers: B) -> Callable[[], None]:
        """
        Capture a pass; nothing in ``buffers`` changes.

        :raises Exception: the first error of the capture. Later captures are not affected.
        """
        with self._lock, self._cuda.device(self._device), torch.inference_mode():
            self._warm_up(run, buffers)
            graph = self._cuda.CUDAGraph()
            with self._cuda.stream(self._capture_stream):
                try:
                    # Other threads may allocate and launch meanwhile.
                    graph.capture_begin(pool=self._pool, capture_error_mode='thread_local')
                    run(buffers)
                except BaseException:
                    self._abandon(graph)
                    raise
                try:
                    graph.capture_end()
                except BaseException:
                    self._replace_pool(graph)
                    raise
        self.captured += 1
        return graph.replay

    def trim(self) -> None:
        """Return the memory of the warm-ups to the device."""
        with self._lock:
            self._cuda.empty_cache()

    def _warm_up(self, run: Callable[[B], None], buffers: B) -> None:
        # Weights and buffers may still be on their way on the stream of the caller.
        self._warmup_stream.wait_stream(self._cuda.current_stream(self._device))
        with self._cuda.stream(self._warmup_stream):
            run(buffers.scratch())
        self._warmup_stream.synchronize()

    def _abandon(self, graph: Any) -> None:
        """End a capture that failed; its own error, a consequence, is only logged."""
        try:
            graph.capture_end()
        except Exception as error:
            _logger.debug('the failed capture ended with %s', error)
        self._replace_pool(graph)

    def _replace_pool(self, graph: Any) -> None:
        # The allocator takes the pool of a failed capture for one that is still capturing: every
        # later capture into it fails. Graphs captured so far keep theirs. The failed graph is
        # kept, because its destructor would release that pool.
        self._failed.append(graph)
        self._pool = self._cuda.graph_pool_handle()
        self._capture_stream = self._cuda.Stream(self._device)


def choose_recorder(network: OpenVlaNetwork) -> Recorder:
    """Return the recorder of a network: CUDA graphs where device and weights allow them."""
    if network.device.type != 'cuda':
        return PlainCalls()
    obstacle = capture_obstacle(network)
    if obstacle:
        _logger.warning('the passes run without CUDA graphs: %s', obstacle)
        return PlainCalls()
    return CudaGraphs(network.device)
