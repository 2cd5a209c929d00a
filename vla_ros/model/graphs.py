# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Recording passes: as CUDA graphs on a GPU, as plain calls elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
import threading
from typing import Protocol

import torch

from vla_ros.model.passes import Buffers

Pass = Callable[[Buffers], None]


class Recorder(Protocol):
    """Makes a pass over buffers ready to run again and again."""

    @property
    def bucket(self) -> int:
        """Prompts are padded to a multiple of this, so that fewer recordings are needed."""

    @property
    def is_slow(self) -> bool:
        """Whether no frame should wait for a recording."""

    def record(self, run: Pass, buffers: Buffers) -> Callable[[], None]:
        """Give a function that runs the pass; called from any thread."""


@dataclass(frozen=True)
class PlainCalls:
    """No recording: the pass itself is called, on the exact length."""

    bucket: int = 1
    is_slow: bool = False

    def record(self, run: Pass, buffers: Buffers) -> Callable[[], None]:
        """Bind the buffers."""
        return lambda: run(buffers)


class CudaGraphs:
    """
    Captures each pass as a CUDA graph: one launch in place of a thousand.

    Capturing runs nothing, so it may happen while other graphs work on the same buffers. What
    comes before does run: libraries choose and load their kernels at the first call, which no
    capture allows. So each pass runs once beforehand, on buffers of its own, on a stream that
    never captures. The capturing stream in turn never executes: cuBLAS keeps a workspace for each
    stream, and the one that a graph uses must belong to graphs alone. They may share it, because
    a single thread replays them, one after the other.
    """

    bucket = 16
    is_slow = True

    def __init__(self, device: torch.device) -> None:
        """Create the streams and the memory pool that all graphs share."""
        self._device = device
        self._trial = torch.cuda.Stream(device)
        self._capture = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._lock = threading.Lock()

    def record(self, run: Pass, buffers: Buffers) -> Callable[[], None]:
        """Capture a pass; nothing in ``buffers`` changes."""
        with self._lock, torch.cuda.device(self._device), torch.inference_mode():
            self._try_out(run, buffers)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(self._capture):
                # Other threads may allocate and launch meanwhile.
                graph.capture_begin(pool=self._pool, capture_error_mode='thread_local')
                try:
                    run(buffers)
                finally:
                    graph.capture_end()
        return graph.replay

    def _try_out(self, run: Pass, buffers: Buffers) -> None:
        with torch.cuda.stream(self._trial):
            run(buffers.scratch())
        self._trial.synchronize()


def choose_recorder(device: torch.device) -> Recorder:
    """Pick the recorder of a device."""
    return CudaGraphs(device) if device.type == 'cuda' else PlainCalls()
