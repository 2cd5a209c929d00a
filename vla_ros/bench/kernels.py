# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Counts the kernels of a pass: operations as they are dispatched, and what a profiler saw."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vla_ros.model.captured_graphs import BucketGraphs
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.passes import Buffers
from vla_ros.model.passes import decode


# Memory without values, and a view that is not declared as one.
_WITHOUT_KERNEL = ('aten::empty', 'aten::_unsafe_view')


class _Operations(TorchDispatchMode):
    """Notes the operations that compute; those that return a view launch nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (),
                           keywords: Any = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        is_view = any(value.alias_info is not None and not value.alias_info.is_write
                      for value in function._schema.returns)
        if not is_view and not function.name().startswith(_WITHOUT_KERNEL):
            self.names[function.name()] += 1
        return result


def count_operations(run: Callable[[], object]) -> Counter[str]:
    """Count the operations that a call dispatches, by name; on a GPU each is about one kernel."""
    with torch.inference_mode(False), torch.no_grad(), _Operations() as operations:
        run()
    return operations.names


@dataclass(frozen=True)
class DecodeOperations:
    """
    Operations of one decode pass.

    :param per_layer: operations of one layer of the language model, by name.
    :param other: number of operations outside of the layers.
    """

    per_layer: dict[str, float]
    other: int


def decode_operations(network: OpenVlaNetwork, buffers: Buffers, length: int) -> DecodeOperations:
    """
    Count the operations of a decode pass that decides one token.

    :param length: of image and prompt.
    """
    layers = len(network.language_model.layers)
    scratch = buffers.scratch()
    whole = count_operations(lambda: decode(network, scratch, length, 1))
    kept, network.language_model.layers = network.language_model.layers, torch.nn.ModuleList()
    try:
        other = count_operations(lambda: decode(network, scratch, length, 1))
    finally:
        network.language_model.layers = kept
    return DecodeOperations({name: count / layers for name, count in (whole - other).items()},
                            sum(other.values()))


def profile_kernels(graphs: BucketGraphs, steps: int = 4) -> dict[str, Any]:
    """
    Profile replayed decode passes on a GPU.

    :returns: kernels per step, their busy share of the time, and the ten with the most time.
    """
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(steps):
            graphs.decode()
        torch.cuda.synchronize()
    kernels = [event for event in profiler.events()
               if event.device_type == torch.autograd.DeviceType.CUDA]
    spent: Counter[str] = Counter()
    for event in kernels:
        spent[event.name] += event.time_range.elapsed_us()
    first = min((event.time_range.start for event in kernels), default=0)
    last = max((event.time_range.end for event in kernels), default=0)
    busy = sum(spent.values())
    return {'kernels_per_step': len(kernels) / steps, 'step_us': round((last - first) / steps, 1),
            'busy_share': round(busy / (last - first), 4) if last > first else math.nan,
            'top_kernels': [f'{name[:80]}: {time / steps:.1f} us a step'
                            for name, time in spent.most_common(10)]}
