# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Where in the key-value cache a forward pass writes, and what each of its positions sees."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vla_ros.model.attention import Attend
from vla_ros.model.attention import attend_biased


class Place(Protocol):
    """
    Positions of a sequence.

    Shapes: a rotary table is (2, 1, S, 1, head), a layer's cache (2, 1, S, kv heads, head), keys
    and values are (1, T, kv heads, head), queries (1, T, heads, head).
    """

    def select(self, rotary: Tensor) -> Tensor:
        """Take the rows of these positions, (2, 1, T, 1, head)."""

    def store(self, cache: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the keys and values of these positions."""

    def attend(self, attend: Attend, query: Tensor, cache: Tensor) -> Tensor:
        """Attend from these positions to what they see, (1, T, heads, head)."""


@dataclass(frozen=True)
class Span:
    """Consecutive positions that the host knows: the kernels need no mask."""

    start: int
    end: int

    def select(self, rotary: Tensor) -> Tensor:
        """Take the rows of these positions."""
        return rotary[:, :, self.start:self.end]

    def store(self, cache: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the keys and values of these positions."""
        cache[0, :, self.start:self.end] = key
        cache[1, :, self.start:self.end] = value

    def attend(self, attend: Attend, query: Tensor, cache: Tensor) -> Tensor:
        """Attend to everything up to each position."""
        return attend(query, cache[0, :, :self.end], cache[1, :, :self.end], True)


@dataclass(frozen=True)
class Spots:
    """
    Positions that only the device knows: what is captured with them serves any of them.

    :param positions: int64 (T,).
    :param bias: (T, S), added to the scores: 0 for those of the first S positions of the cache
        that each one sees, else minus infinity. Every layer would turn a mask into this.
    """

    positions: Tensor
    bias: Tensor

    @classmethod
    def at(cls, positions: Tensor, rows: Tensor, dtype: torch.dtype) -> 'Spots':
        """
        Place positions in a cache.

        :param rows: int64 (S,), 0, 1, 2 … for each row of the cache that may be in use.
        :param dtype: that of queries and keys.
        """
        hidden = rows > positions[:, None]
        bias = torch.zeros(hidden.shape, dtype=dtype, device=rows.device)
        return cls(positions, bias.masked_fill_(hidden, float('-inf')))

    def select(self, rotary: Tensor) -> Tensor:
        """Take the rows of these positions."""
        return rotary.index_select(2, self.positions)

    def store(self, cache: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the keys and values of these positions."""
        cache[0].index_copy_(1, self.positions, key)
        cache[1].index_copy_(1, self.positions, value)

    def attend(self, attend: Attend, query: Tensor, cache: Tensor) -> Tensor:
        """Attend to everything up to each position; a handful of queries suits any kernel."""
        length = self.bias.shape[1]
        return attend_biased(query, cache[0, :, :length], cache[1, :, :length], self.bias)
