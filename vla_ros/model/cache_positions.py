# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Key-value cache positions that a forward pass writes, and what each of them attends to."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vla_ros.model.attention import Attend
from vla_ros.model.attention import attend_biased

# Rows of a bias begin at multiples of this, or PyTorch's memory-efficient attention copies the
# bias to where they do, in every layer of every step.
_ALIGNMENT = 16


class CachePositions(Protocol):
    """
    Positions of B sequences.

    Shapes: a rotary table is (2, 1, S, 1, head), a layer's cache (2, B, S, kv heads, head), keys
    and values are (B, T, kv heads, head), queries (B, T, heads, head).
    """

    def select(self, rotary: Tensor) -> Tensor:
        """Return the rows of these positions, (2, 1 or B, T, 1, head)."""

    def store(self, cache: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the keys and values of these positions."""

    def attend(self, attend: Attend, query: Tensor, cache: Tensor) -> Tensor:
        """Attend from these positions to all up to each of them, (B, T, heads, head)."""


class WantedPositions(CachePositions, Protocol):
    """The positions whose hidden states are read."""

    def take(self, x: Tensor) -> Tensor:
        """Return the rows of these positions of x, (B, S, …) to (B, T, …)."""


@dataclass(frozen=True)
class ContiguousPositions:
    """Consecutive positions known to the host: the kernels need no mask."""

    start: int
    end: int

    def select(self, rotary: Tensor) -> Tensor:
        """Return the rows of these positions."""
        return rotary[:, :, self.start:self.end]

    def store(self, cache: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the keys and values of these positions."""
        cache[0, :, self.start:self.end] = key
        cache[1, :, self.start:self.end] = value

    def attend(self, attend: Attend, query: Tensor, cache: Tensor) -> Tensor:
        """Attend to all positions up to each of them."""
        return attend(query, cache[0, :, :self.end], cache[1, :, :self.end], True)


@dataclass(frozen=True)
class DevicePositions:
    """
    Positions of one sequence known to the device only: one captured graph serves any of them.

    :param positions: int64 (T,).
    :param bias: (T, S), added to the scores: 0 for the cache positions that a query attends to,
        minus infinity for the others. Every layer would turn a mask into this.
    """

    positions: Tensor
    bias: Tensor

    @classmethod
    def of(cls, positions: Tensor, rows: Tensor, dtype: torch.dtype) -> 'DevicePositions':
        """
        Compute the bias of positions.

        :param positions: int64 (T,).
        :param rows: int64 (S,), 0, 1, 2 … for each row of the cache that may be in use.
        :param dtype: that of queries and keys.
        """
        return cls(positions, _bias(rows > positions[:, None], dtype))

    def select(self, rotary: Tensor) -> Tensor:
        """Return the rows of these positions."""
        return rotary.index_select(2, self.positions)

    def take(self, x: Tensor) -> Tensor:
        """Return the rows of these positions, (1, S, …) to (1, T, …)."""
        return x.index_select(1, self.positions)

    def store(self, cache: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the keys and values of these positions."""
        cache[0].index_copy_(1, self.positions, key)
        cache[1].index_copy_(1, self.positions, value)

    def attend(self, attend: Attend, query: Tensor, cache: Tensor) -> Tensor:
        """Attend to all positions up to each of them; any kernel suits a handful of queries."""
        length = self.bias.shape[1]
        return attend_biased(query, cache[0, :, :length], cache[1, :, :length], self.bias)


@dataclass(frozen=True)
class BatchPositions:
    """
    Positions known to the device only, other ones in each of B sequences.

    :param positions: int64 (B, T).
    :param bias: (B, 1, T, S), see :class:`DevicePositions`.
    :param sequences: int64 (B, 1), 0, 1, 2 …
    """

    positions: Tensor
    bias: Tensor
    sequences: Tensor

    @classmethod
    def of(cls, positions: Tensor, rows: Tensor, dtype: torch.dtype) -> 'BatchPositions':
        """
        Compute the bias of positions.

        :param positions: int64 (B, T).
        :param rows: int64 (S,), 0, 1, 2 … for each row of the cache that may be in use; S ≥ B.
        :param dtype: that of queries and keys.
        """
        return cls(positions, _bias(rows > positions[:, None, :, None], dtype),
                   rows[:len(positions), None])

    def select(self, rotary: Tensor) -> Tensor:
        """Return the rows of these positions, (2, B, T, 1, head)."""
        return rotary[:, 0, self.positions]

    def take(self, x: Tensor) -> Tensor:
        """Return the rows of these positions, (B, S, …) to (B, T, …)."""
        return x[self.sequences, self.positions]

    def store(self, cache: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the keys and values of these positions."""
        cache[0].index_put_((self.sequences, self.positions), key)
        cache[1].index_put_((self.sequences, self.positions), value)

    def attend(self, attend: Attend, query: Tensor, cache: Tensor) -> Tensor:
        """Attend to all positions up to each of them."""
        length = self.bias.shape[3]
        return attend_biased(query, cache[0, :, :length], cache[1, :, :length], self.bias)


def _bias(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """Return minus infinity where a cache position is hidden, 0 elsewhere."""
    length = hidden.shape[-1]
    bias = torch.zeros(*hidden.shape[:-1], -(-length // _ALIGNMENT) * _ALIGNMENT, dtype=dtype,
                       device=hidden.device)
    return bias[..., :length].masked_fill_(hidden, float('-inf'))
