# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The operations between the matrix products of a decode step as Triton kernels.

Every kernel rounds where PyTorch's operations round, so in bfloat16 only the order of the sums of
a norm differs. Source of the formulas: :mod:`layer_operations`.
"""

import torch
from torch import Tensor
import triton
import triton.language as tl


@triton.jit
def _add_norm(x, update, weight, total_out, normed_out, dim, eps, BLOCK: tl.constexpr):
    row, columns = tl.program_id(0), tl.arange(0, BLOCK)
    is_inside, at = columns < dim, tl.program_id(0) * dim + columns
    value = tl.load(x + at, mask=is_inside, other=0.0).to(tl.float32)
    if update is not None:
        value += tl.load(update + at, mask=is_inside, other=0.0).to(tl.float32)
        total = value.to(total_out.dtype.element_ty)
        tl.store(total_out + row * dim + columns, total, mask=is_inside)
        value = total.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(value * value, 0) / dim + eps)
    normed = (value * scale).to(normed_out.dtype.element_ty).to(tl.float32)
    factor = tl.load(weight + columns, mask=is_inside, other=0.0).to(tl.float32)
    tl.store(normed_out + row * dim + columns, (normed * factor).to(normed_out.dtype.element_ty),
             mask=is_inside)


# As operations of PyTorch, launches are seen by whoever counts operations.
@torch.library.custom_op('vla_ros::norm', mutates_args=())
def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return the root mean square norm of x, (…, hidden), contiguous."""
    normed, dim = torch.empty_like(x), x.shape[-1]
    _add_norm[(x.numel() // dim,)](x, None, weight, None, normed, dim, eps,
                                   BLOCK=triton.next_power_of_2(dim))
    return normed


@torch.library.custom_op('vla_ros::add_norm', mutates_args=())
def add_norm(x: Tensor, update: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return x + update and its root mean square norm, both (…, hidden), contiguous."""
    total, normed, dim = torch.empty_like(x), torch.empty_like(x), x.shape[-1]
    _add_norm[(x.numel() // dim,)](x, update, weight, total, normed, dim, eps,
                                   BLOCK=triton.next_power_of_2(dim))
    return total, normed


@triton.jit
def _rotate_store(heads, rotary, cache, positions, out, rows, cache_rows, queries, key_heads,
                  HALF: tl.constexpr, BLOCK: tl.constexpr):
    # One program for each position and head; a head has two halves.
    row, head = tl.program_id(0), tl.program_id(1)
    size = 2 * HALF
    index = tl.arange(0, BLOCK)
    is_inside = index < HALF
    at = (row * (queries + 2 * key_heads) + head) * size + index
    first = tl.load(heads + at, mask=is_inside, other=0.0)
    second = tl.load(heads + at + HALF, mask=is_inside, other=0.0)
    position = tl.load(positions + row)
    if head < queries + key_heads:
        angle = row * size + index
        sines = rotary + rows * size
        cos_1 = tl.load(rotary + angle, mask=is_inside, other=0.0).to(tl.float32)
        cos_2 = tl.load(rotary + angle + HALF, mask=is_inside, other=0.0).to(tl.float32)
        sin_1 = tl.load(sines + angle, mask=is_inside, other=0.0).to(tl.float32)
        sin_2 = tl.load(sines + angle + HALF, mask=is_inside, other=0.0).to(tl.float32)
        type_ = heads.dtype.element_ty
        left, right = first.to(tl.float32), second.to(tl.float32)
        first = ((left * cos_1).to(type_).to(tl.float32) + right * sin_1).to(type_)
        second = ((right * cos_2).to(type_).to(tl.float32) + left * sin_2).to(type_)
    if head < queries:
        to = out + (row * queries + head) * size + index
    else:
        is_value = head >= queries + key_heads
        slot = head - queries - tl.where(is_value, key_heads, 0)
        base = tl.where(is_value, cache_rows, 0) + position
        to = cache + (base * key_heads + slot) * size + index
    tl.store(to, first, mask=is_inside)
    tl.store(to + HALF, second, mask=is_inside)


@torch.library.custom_op('vla_ros::rotate_and_store', mutates_args=('cache',))
def rotate_and_store(heads: Tensor, key_heads: int, rotary: Tensor, cache: Tensor,
                     positions: Tensor) -> Tensor:
    """
    Rotate queries and keys, write keys and values at positions of the cache.

    :param heads: (1, T, heads + 2·key_heads, head), contiguous.
    :param rotary: (2, 1, T, 1, head), contiguous.
    :param cache: (2, 1, S, key_heads, head), contiguous.
    :param positions: int64 (T,).
    :returns: the rotated queries, (1, T, heads, head).
    """
    _, rows, count, size = heads.shape
    queries = count - 2 * key_heads
    out = heads.new_empty(1, rows, queries, size)
    _rotate_store[(rows, count)](heads, rotary, cache, positions, out,
                                 rows, cache.shape[2], queries, key_heads, HALF=size // 2,
                                 BLOCK=triton.next_power_of_2(size // 2))
    return out


@triton.jit
def _silu_multiply(gate_up, out, dim, BLOCK: tl.constexpr):
    row, columns = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_inside = columns < dim
    type_ = out.dtype.element_ty
    gate = tl.load(gate_up + 2 * row * dim + columns, mask=is_inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + (2 * row + 1) * dim + columns, mask=is_inside, other=0.0)
    active = (gate / (1.0 + tl.exp(-gate))).to(type_).to(tl.float32)
    tl.store(out + row * dim + columns, (active * up.to(tl.float32)).to(type_), mask=is_inside)


@torch.library.custom_op('vla_ros::silu_multiply', mutates_args=())
def silu_multiply(gate_up: Tensor) -> Tensor:
    """Return silu(gate)·up, (…, intermediate), of (…, 2·intermediate), contiguous."""
    dim = gate_up.shape[-1] // 2
    out = gate_up.new_empty(*gate_up.shape[:-1], dim)
    block = 1024
    _silu_multiply[(out.numel() // dim, triton.cdiv(dim, block))](gate_up, out, dim, BLOCK=block)
    return out
