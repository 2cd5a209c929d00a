# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a decoder layer computes beside attention and matrix products."""

from typing import Protocol

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.model.cache_positions import CachePositions


class RmsNorm(nn.Module):
    """
    Root mean square norm, computed in float32 and rounded before it is scaled, as in transformers.

    PyTorch's fused kernel does the first part: one kernel instead of six.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * functional.rms_norm(x, self.weight.shape, None, self.eps)


class LayerOperations(Protocol):
    """Operations between the matrix products of a layer, which one kernel each can do."""

    def add_norm(self, x: Tensor, update: Tensor, norm: RmsNorm) -> tuple[Tensor, Tensor]:
        """
        Add an update to the residual stream, and normalise the sum.

        :param x: (B, T, hidden).
        :param update: (B, T, hidden).
        :returns: the sum, and its norm.
        """

    def rotate_and_store(self, heads: Tensor, key_heads: int, rotary: Tensor, cache: Tensor,
                         positions: CachePositions) -> Tensor:
        """
        Rotate queries and keys by their positions, and write keys and values to the cache.

        :param heads: (B, T, heads + 2·key_heads, head): queries, keys, values.
        :param rotary: (2, 1 or B, T, 1, head), of these positions.
        :param cache: (2, B, S, key_heads, head).
        :returns: the rotated queries, (B, T, heads, head).
        """

    def gated(self, x: Tensor, gate_up: nn.Module) -> Tensor:
        """
        Compute the gated activation of the feed-forward part.

        :param x: (B, T, hidden).
        :param gate_up: the matrix of gate and up projection, to 2·intermediate.
        :returns: (B, T, intermediate), silu(gate)·up.
        """


class PlainOperations:
    """The operations in PyTorch, as in transformers."""

    def add_norm(self, x: Tensor, update: Tensor, norm: RmsNorm) -> tuple[Tensor, Tensor]:
        """Add an update to the residual stream, and normalise the sum."""
        x = x + update
        # forward is called directly: PyTorch's hooks, unused here, took a tenth of a decode step
        # on a CPU.
        return x, norm.forward(x)

    def rotate_and_store(self, heads: Tensor, key_heads: int, rotary: Tensor, cache: Tensor,
                         positions: CachePositions) -> Tensor:
        """Rotate queries and keys by their positions, and write keys and values to the cache."""
        split = heads.shape[2] - key_heads
        # One rotation for queries and keys together.
        rotated = rotate(heads[:, :, :split], rotary)
        queries = split - key_heads
        positions.store(cache, rotated[:, :, queries:], heads[:, :, split:])
        return rotated[:, :, :queries]

    def gated(self, x: Tensor, gate_up: nn.Module) -> Tensor:
        """Compute the gated activation of the feed-forward part."""
        gate, up = gate_up(x).chunk(2, dim=-1)
        return functional.silu(gate) * up


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Rotate pairs (i, i + d/2) of the last dimension by the angle of their position."""
    return torch.addcmul(x * rotary[0], x.roll(x.shape[-1] // 2, -1), rotary[1])
