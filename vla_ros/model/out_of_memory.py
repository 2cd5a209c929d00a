# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""An out-of-memory error, turned into what took the memory and what would fit."""

from collections.abc import Iterator
from contextlib import contextmanager
import os

import torch

from vla_ros.errors import DeviceMemoryError
from vla_ros.model.attention import attend_sdpa
from vla_ros.model.config import OpenVlaConfig
from vla_ros.model.meta_device import on_meta_device
from vla_ros.model.network import OpenVlaNetwork

# What a weight of the language model's layers takes, scales included, against two bytes in
# bfloat16.
_QUANTIZED_BYTES = {'quantization int8': 1.0, 'quantization fp8': 1.0, 'quantization int4': 0.56}
_TEXT = 512


@contextmanager
def explain_memory(config: OpenVlaConfig, device: torch.device,
                   dtype: torch.dtype) -> Iterator[None]:
    """
    Convert what PyTorch raises when memory runs out to a sentence about this model.

    :raises DeviceMemoryError: the memory of the device did not suffice.
    """
    free, total = memory_of(device)
    try:
        yield
    except torch.OutOfMemoryError:
        _explain(config, device, dtype, free, total)
    except RuntimeError as error:
        # On a CPU it is but a RuntimeError.
        if 'not enough memory' not in str(error) and "can't allocate memory" not in str(error):
            raise
        _explain(config, device, dtype, free, total)


def _explain(config: OpenVlaConfig, device: torch.device, dtype: torch.dtype, free: int,
             total: int) -> None:
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu'
    raise DeviceMemoryError(name, free, total, needs(config, dtype),
                            smaller(config, dtype)) from None


def needs(config: OpenVlaConfig, dtype: torch.dtype) -> dict[str, int]:
    """Count the bytes of the weights and of the key-value cache."""
    network = _shape(config)
    llama = config.language_model
    positions = network.patch_count + _TEXT
    cache = 2 * llama.num_hidden_layers * positions * llama.kv_heads * llama.head_size
    return {part: count * dtype.itemsize for part, count in (
        ('vision', _count(network.vision_backbone) + _count(network.projector)),
        ('language model', _count(network.language_model)), ('key-value cache', cache))}


def smaller(config: OpenVlaConfig, dtype: torch.dtype) -> dict[str, int]:
    """Count the bytes of the whole, by setting that makes it smaller."""
    whole = sum(needs(config, dtype).values())
    layers = _count(_shape(config).language_model.layers)
    found = {}
    if dtype == torch.float32:
        found['dtype bfloat16'] = whole // 2
    for setting, size in _QUANTIZED_BYTES.items():
        found[setting] = int(whole - layers * (dtype.itemsize - size))
    return found


def memory_of(device: torch.device) -> tuple[int, int]:
    """Return the free and the total memory of a device, in bytes."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)
    page = os.sysconf('SC_PAGE_SIZE')
    return os.sysconf('SC_AVPHYS_PAGES') * page, os.sysconf('SC_PHYS_PAGES') * page


def _shape(config: OpenVlaConfig) -> OpenVlaNetwork:
    with on_meta_device():
        return OpenVlaNetwork(config, attend_sdpa)


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
