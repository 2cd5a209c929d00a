# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Memory by module."""

from collections.abc import Callable
from collections.abc import Iterable
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from torch import Tensor

from vla_ros.model.network import OpenVlaNetwork


def memory_by_module(network: OpenVlaNetwork) -> dict[str, int]:
    """Count the bytes of the weights by module; tensors that share memory count once."""
    modules: dict[str, nn.Module] = {
        'vision': network.vision_backbone, 'projector': network.projector,
        'language_model': network.language_model}
    return {name: _bytes([*module.parameters(), *module.buffers()])
            for name, module in modules.items()}


def memory_of_buffers(owner: object) -> int:
    """Count the bytes of the tensors that an engine or decoder keeps: the cache above all."""
    return _bytes(value for value in vars(owner).values() if isinstance(value, Tensor))


def activation_peak(run: Callable[[], object], device: torch.device) -> int:
    """Measure the peak of what a run allocates, in bytes."""
    if device.type != 'cuda':
        return _host_peak(run)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _host_peak(run: Callable[[], object]) -> int:
    """Sum what PyTorch allocates and frees on the host, which only its profiler reports."""
    # It would complain on stderr that there is no GPU to profile.
    os.environ.setdefault('KINETO_LOG_LEVEL', '5')
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU],
                                profile_memory=True) as profiler:
        run()
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'trace.json'
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding='utf-8'))['traceEvents']
    changes = sorted((event['ts'], event['args']['Bytes']) for event in events
                     if event.get('name') == '[memory]')
    # What is freed first, in the order of one moment, was allocated before.
    return int(max(np.cumsum([size for _, size in changes]), default=0))


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
                for tensor in tensors}
    return sum(storages.values())
