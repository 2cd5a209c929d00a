# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a decoder layer computes beside attention, in units that one kernel each can do."""

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
    """
    Operations of a decoder layer.

    What a layer adds to the residual stream may wait for the norm that follows: both are one
    kernel then. So the stream is a pair: x, and an update still to be added, None for nothing.
    """

    def add_norm(self, x: Tensor, update: Tensor | None, norm: RmsNorm) -> tuple[Tensor, Tensor]:
        """
        Add an update to the residual stream, and normalise the sum.

        :param x: (B, T, hidden).
        :param update: (B, T, hidden), or None.
        :returns: the sum, and its norm.
        """

    def norm_linear(self, x: Tensor, update: Tensor | None, norm: RmsNorm,
                    matrix: nn.Module) -> tuple[Tensor, Tensor]:
        """
        Add an update to the residual stream, and multiply the norm of the sum with a matrix.

        :returns: the sum, (B, T, hidden), and the product, (B, T, out).
        """

    def norm_gated(self, x: Tensor, update: Tensor | None, norm: RmsNorm,
                   gate_up: nn.Module) -> tuple[Tensor, Tensor]:
        """
        Add an update to the residual stream, and compute the gated activation of its norm.

        :param gate_up: the matrix of gate and up projection, to 2·intermediate.
        :returns: the sum, (B, T, hidden), and silu(gate)·up, (B, T, intermediate).
        """

    def linear(self, x: Tensor, matrix: nn.Module) -> Tensor:
        """Multiply (…, in) with a matrix to (…, out)."""

    def add_linear(self, residual: Tensor, x: Tensor,
                   matrix: nn.Module) -> tuple[Tensor, Tensor | None]:
        """
        Multiply with a matrix, and add the product to the residual stream, now or later.

        :param residual: (B, T, hidden).
        :param x: (B, T, in).
        :returns: the residual stream, and what is still to be added to it.
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


class PlainOperations:
    """The operations in PyTorch, as in transformers."""

    def add_norm(self, x: Tensor, update: Tensor | None, norm: RmsNorm) -> tuple[Tensor, Tensor]:
        """Add an update to the residual stream, and normalise the sum."""
        if update is not None:
            x = x + update
        # forward is called directly: PyTorch's hooks, unused here, took a tenth of a decode step
        # on a CPU.
        return x, norm.forward(x)

    def norm_linear(self, x: Tensor, update: Tensor | None, norm: RmsNorm,
                    matrix: nn.Module) -> tuple[Tensor, Tensor]:
        """Add an update to the residual stream, and multiply the norm of the sum."""
        x, normed = self.add_norm(x, update, norm)
        return x, self.linear(normed, matrix)

    def norm_gated(self, x: Tensor, update: Tensor | None, norm: RmsNorm,
                   gate_up: nn.Module) -> tuple[Tensor, Tensor]:
        """Add an update to the residual stream, and compute the gated activation of its norm."""
        x, normed = self.add_norm(x, update, norm)
        return x, self.gated(normed, gate_up)

    def gated(self, x: Tensor, gate_up: nn.Module) -> Tensor:
        """Return silu(gate)·up of a row or several."""
        gate, up = self.linear(x, gate_up).chunk(2, dim=-1)
        return functional.silu(gate) * up

    def linear(self, x: Tensor, matrix: nn.Module) -> Tensor:
        """Multiply with a matrix."""
        return matrix(x)

    def add_linear(self, residual: Tensor, x: Tensor,
                   matrix: nn.Module) -> tuple[Tensor, Tensor | None]:
        """Multiply with a matrix; the sum waits for the norm that follows it."""
        return residual, self.linear(x, matrix)

    def rotate_and_store(self, heads: Tensor, key_heads: int, rotary: Tensor, cache: Tensor,
                         positions: CachePositions) -> Tensor:
        """Rotate queries and keys by their positions, and write keys and values to the cache."""
        split = heads.shape[2] - key_heads
        # One rotation for queries and keys together.
        rotated = rotate(heads[:, :, :split], rotary)
        queries = split - key_heads
        positions.store(cache, rotated[:, :, queries:], heads[:, :, split:])
        return rotated[:, :, :queries]


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Rotate pairs (i, i + d/2) of the last dimension by the angle of their position."""
    return torch.addcmul(x * rotary[0], x.roll(x.shape[-1] // 2, -1), rotary[1])
