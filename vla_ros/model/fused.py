# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Layers with fused or compiled kernels: off by default, until a run on a GPU shows a gain.

A layer of a decode step has eight kernels with fused operations: norm, QKV, rotation and cache
write, attention, output projection, norm, gated feed-forward, down projection. With split-K
products it has six: the norms are parts of the products behind them, and the sums of the residual
stream are parts of those before them. Weights in 8-bit floats have the same six.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch import Tensor

from vla_ros.model.cache_positions import CachePositions
from vla_ros.model.cache_positions import DevicePositions
from vla_ros.model.layer_operations import LayerOperations
from vla_ros.model.layer_operations import PlainOperations
from vla_ros.model.layer_operations import RmsNorm
from vla_ros.model.llama import Layer
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.quantize import Fp8Linear


class FusedOperations(PlainOperations):
    """The operations between matrix products as one Triton kernel each, where shapes allow it."""

    def __init__(self, device: torch.device) -> None:
        """Import the kernels, and with them Triton."""
        from vla_ros.model import gemv_kernels  # Triton comes with PyTorch for CUDA only
        from vla_ros.model import triton_kernels
        self._kernels = triton_kernels
        self._gemv = gemv_kernels.gemv
        self._counters = gemv_kernels.Counters(device)

    def add_norm(self, x: Tensor, update: Tensor | None, norm: RmsNorm) -> tuple[Tensor, Tensor]:
        """Add an update to the residual stream, and normalise the sum."""
        x = x.contiguous()
        if update is None:
            return x, self._kernels.norm(x, norm.weight, norm.eps)
        return self._kernels.add_norm(x, update.contiguous(), norm.weight, norm.eps)

    def rotate_and_store(self, heads: Tensor, key_heads: int, rotary: Tensor, cache: Tensor,
                         positions: CachePositions) -> Tensor:
        """Rotate queries and keys by their positions, and write keys and values to the cache."""
        if not isinstance(positions, DevicePositions):
            return super().rotate_and_store(heads, key_heads, rotary, cache, positions)
        return self._kernels.rotate_and_store(heads.contiguous(), key_heads, rotary.contiguous(),
                                              cache, positions.positions)

    def gated(self, x: Tensor, gate_up: nn.Module) -> Tensor:
        """Compute the gated activation of the feed-forward part."""
        if _is_dense(gate_up) and _is_row(x):
            return self._multiply(x, gate_up, is_gated=True)
        return self._kernels.silu_multiply(self.linear(x, gate_up).contiguous())

    def _multiply(self, x: Tensor, matrix: nn.Module, norm: RmsNorm | None = None,
                  residual: Tensor | None = None, is_gated: bool = False) -> Tensor:
        """Multiply one row with a matrix that :func:`_is_dense` accepts, in one kernel."""
        assert isinstance(matrix, (nn.Linear, Fp8Linear))
        weight, scale = ((matrix.weight, matrix.scale) if isinstance(matrix, Fp8Linear)
                         else (matrix.weight, None))
        return self._gemv(
            x.contiguous(), weight, scale, None if norm is None else norm.weight,
            0.0 if norm is None else norm.eps,
            None if residual is None else residual.contiguous(), is_gated,
            self._counters.current())


class SplitKOperations(FusedOperations):
    """
    The matrix products of one row, too, each in one kernel with what stands beside it.

    Several rows suit cuBLAS, and a matrix that is adapted or has integer weights multiplies in
    its own way.
    """

    def norm_linear(self, x: Tensor, update: Tensor | None, norm: RmsNorm,
                    matrix: nn.Module) -> tuple[Tensor, Tensor]:
        """Add an update to the residual stream, and multiply the norm of the sum."""
        if update is None and _is_dense(matrix) and _is_row(x):
            return x, self._multiply(x, matrix, norm)
        return super().norm_linear(x, update, norm, matrix)

    def norm_gated(self, x: Tensor, update: Tensor | None, norm: RmsNorm,
                   gate_up: nn.Module) -> tuple[Tensor, Tensor]:
        """Add an update to the residual stream, and compute the gated activation of its norm."""
        if update is None and _is_dense(gate_up) and _is_row(x):
            return x, self._multiply(x, gate_up, norm, is_gated=True)
        return super().norm_gated(x, update, norm, gate_up)

    def linear(self, x: Tensor, matrix: nn.Module) -> Tensor:
        """Multiply with a matrix."""
        if _is_dense(matrix) and _is_row(x):
            return self._multiply(x, matrix)
        return super().linear(x, matrix)

    def add_linear(self, residual: Tensor, x: Tensor,
                   matrix: nn.Module) -> tuple[Tensor, Tensor | None]:
        """Multiply with a matrix, and add the product to the residual stream."""
        if _is_dense(matrix) and _is_row(x):
            return self._multiply(x, matrix, residual=residual), None
        return super().add_linear(residual, x, matrix)


def _is_dense(matrix: nn.Module) -> bool:
    """Return whether the kernel reads the weights of a matrix as they are."""
    # Not its subclasses: those of bitsandbytes store something else.
    return type(matrix) is Fp8Linear or type(matrix) is nn.Linear and matrix.bias is None


def _is_row(x: Tensor) -> bool:
    return x.shape[:-1].numel() == 1


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


def use_plain_operations(network: OpenVlaNetwork) -> None:
    """Use the operations of PyTorch in a language model: the default."""
    _use(network, PlainOperations())


def use_fused_kernels(network: OpenVlaNetwork) -> None:
    """
    Use fused kernels in a language model, before its passes are captured.

    :raises ModuleNotFoundError: Triton is not installed.
    """
    _use(network, FusedOperations(network.device))


def use_split_k_kernels(network: OpenVlaNetwork) -> None:
    """
    Use fused kernels and split-K products of one row, before captures.

    :raises ModuleNotFoundError: Triton is not installed.
    """
    _use(network, SplitKOperations(network.device))


def _use(network: OpenVlaNetwork, operations: LayerOperations) -> None:
    network.language_model.operations = operations
    for layer in network.language_model.layers:
        layer.self_attn.operations = layer.mlp.operations = operations
