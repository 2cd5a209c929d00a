# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Layers with fused or compiled kernels: off by default, until a run on a GPU shows a gain.

With fused kernels a layer of a decode step has eight kernels: norm, QKV, rotation and cache write,
attention, output projection, norm, gated feed-forward, down projection.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch import Tensor

from vla_ros.model.cache_positions import CachePositions
from vla_ros.model.cache_positions import DevicePositions
from vla_ros.model.layer_operations import PlainOperations
from vla_ros.model.layer_operations import RmsNorm
from vla_ros.model.llama import Layer
from vla_ros.model.network import OpenVlaNetwork


class FusedOperations(PlainOperations):
    """The operations as one Triton kernel each, where shapes and weights allow it."""

    def __init__(self) -> None:
        """Import the kernels, and with them Triton."""
        from vla_ros.model import triton_kernels  # comes with PyTorch for CUDA only
        self._kernels = triton_kernels

    def add_norm(self, x: Tensor, update: Tensor, norm: RmsNorm) -> tuple[Tensor, Tensor]:
        """Add an update to the residual stream, and normalise the sum."""
        return self._kernels.add_norm(x, update, norm.weight, norm.eps)

    def rotate_and_store(self, heads: Tensor, key_heads: int, rotary: Tensor, cache: Tensor,
                         positions: CachePositions) -> Tensor:
        """Rotate queries and keys by their positions, and write keys and values to the cache."""
        if not isinstance(positions, DevicePositions):
            return super().rotate_and_store(heads, key_heads, rotary, cache, positions)
        return self._kernels.rotate_and_store(heads, key_heads, rotary, cache,
                                              positions.positions)

    def gated(self, x: Tensor, gate_up: nn.Module) -> Tensor:
        """Compute the gated activation of the feed-forward part."""
        # A quantised or adapted matrix multiplies in its own way, and many rows suit cuBLAS.
        if type(gate_up) is nn.Linear and x.shape[:2].numel() == 1:
            return self._kernels.gated_gemv(x, gate_up.weight)
        return self._kernels.silu_multiply(gate_up(x))


def compile_layers(network: OpenVlaNetwork, **options: Any) -> None:
    """
    Compile the layers of a language model with PyTorch, the alternative to the fused kernels.

    All layers share one compilation. PyTorch keeps its results in TORCHINDUCTOR_CACHE_DIR, from
    which a later start takes them.

    :param options: of ``torch.compile``.
    """
    forward = torch.compile(Layer.forward, dynamic=False, **options)
    for layer in network.language_model.layers:
        layer.forward = partial(forward, layer)


def use_fused_kernels(network: OpenVlaNetwork) -> None:
    """
    Give all layers of a language model fused kernels, before its passes are captured.

    :raises ModuleNotFoundError: Triton is not installed.
    """
    operations = FusedOperations()
    for layer in network.language_model.layers:
        layer.operations = layer.self_attn.operations = layer.mlp.operations = operations
