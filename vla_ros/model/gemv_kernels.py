# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The matrix product of one row as a Triton kernel: split-K, with norm, activation and sum fused.

One kernel reads the row, normalises it, multiplies it with a matrix, activates the result or adds
it to the residual stream. The matrix is read once, in bfloat16 or as 8-bit floats that are widened
in registers. Sums are float32; everything else is rounded where PyTorch's operations round, so
only the order of sums differs. Source of the formulas: :mod:`vla_ros.model.layer_operations`.

A matrix of few rows does not fill a GPU with one program for a tile of its rows. Then several
programs share a tile, each with its own blocks of columns (split-K). The last one to arrive adds
their sums, always in the same order: the result does not depend on which one that is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
import triton
import triton.language as tl

# Rows and columns of the matrix that a program multiplies at a time, and its warps.
_TILING = (8, 512, 4)
_GATED_TILING = (8, 512, 8)
# Programs that fill a large GPU: 8 for each of about 130 multiprocessors.
_PROGRAMS = 1024
_MOST_SPLITS = 16


@triton.jit
def _inverse_rms(x, eps, COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, COLUMNS, BLOCK):
        index = start + tl.arange(0, BLOCK)
        value = tl.load(x + index, mask=index < COLUMNS, other=0.0).to(tl.float32)
        squares += value * value
    return 1.0 / tl.sqrt(tl.sum(squares, 0) / COLUMNS + eps)


@triton.jit
def _finish(first, second, scale, residual, out, row, rows, IS_GATED: tl.constexpr):
    is_row = row < rows
    type_ = out.dtype.element_ty
    if scale is not None:
        first *= tl.load(scale + row, mask=is_row, other=0.0)
        if IS_GATED:
            second *= tl.load(scale + rows + row, mask=is_row, other=0.0)
    value = first.to(type_)
    if IS_GATED:
        gate = value.to(tl.float32)
        active = (gate / (1.0 + tl.exp(-gate))).to(type_).to(tl.float32)
        value = (active * second.to(type_).to(tl.float32)).to(type_)
    if residual is not None:
        total = tl.load(residual + row, mask=is_row, other=0.0).to(tl.float32)
        value = (total + value.to(tl.float32)).to(type_)
    tl.store(out + row, value, mask=is_row)


@triton.jit
def _gemv(x, norm, weight, scale, residual, out, partial, counters, rows, eps,
          COLUMNS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
          IS_GATED: tl.constexpr):
    tile, split = tl.program_id(0), tl.program_id(1)
    row = tile * ROWS + tl.arange(0, ROWS)
    type_ = x.dtype.element_ty
    inverse = 1.0
    if norm is not None:
        # Every program repeats this; its reads are cached, those of the matrix are not.
        inverse = _inverse_rms(x, eps, COLUMNS, BLOCK)
    first_sums = tl.zeros((ROWS, BLOCK), tl.float32)
    second_sums = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in range(0, COLUMNS, SPLITS * BLOCK):
        index = start + split * BLOCK + tl.arange(0, BLOCK)
        is_inside = index < COLUMNS
        value = tl.load(x + index, mask=is_inside, other=0.0).to(tl.float32)
        if norm is not None:
            value = (value * inverse).to(type_).to(tl.float32)
            factor = tl.load(norm + index, mask=is_inside, other=0.0).to(tl.float32)
            value = (factor * value).to(type_).to(tl.float32)
        at = weight + row[:, None].to(tl.int64) * COLUMNS + index[None, :]
        is_weight = (row < rows)[:, None] & is_inside[None, :]
        first_sums += tl.load(at, mask=is_weight, other=0.0).to(tl.float32) * value[None, :]
        if IS_GATED:
            at += tl.cast(rows, tl.int64) * COLUMNS
            second_sums += tl.load(at, mask=is_weight, other=0.0).to(tl.float32) * value[None, :]
    first, second = tl.sum(first_sums, 1), tl.sum(second_sums, 1)
    if SPLITS == 1:
        _finish(first, second, scale, residual, out, row, rows, IS_GATED)
    else:
        stride = tl.num_programs(0) * ROWS
        tl.store(partial + 2 * split * stride + row, first)
        if IS_GATED:
            tl.store(partial + (2 * split + 1) * stride + row, second)
        # All threads of this program have stored before one of them says so.
        tl.debug_barrier()
        if tl.atomic_add(counters + tile, 1, sem='acq_rel') == SPLITS - 1:
            first, second = tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS,), tl.float32)
            for number in range(SPLITS):
                # From the second-level cache, where other multiprocessors have written.
                first += tl.load(partial + 2 * number * stride + row, cache_modifier='.cg')
                if IS_GATED:
                    second += tl.load(partial + (2 * number + 1) * stride + row,
                                      cache_modifier='.cg')
            tl.store(counters + tile, 0)
            _finish(first, second, scale, residual, out, row, rows, IS_GATED)


def choose_splits(rows: int, columns: int, tiling: Sequence[int] = _TILING) -> int:
    """
    Return how many programs share a tile of a matrix: a power of two.

    :param tiling: rows and columns of a tile, and warps.
    """
    tiles, blocks = triton.cdiv(rows, tiling[0]), triton.cdiv(columns, tiling[1])
    splits = 1
    while tiles * splits < _PROGRAMS and 2 * splits <= min(blocks, _MOST_SPLITS):
        splits *= 2
    return splits


class Counters:
    """
    Zeros in which the programs of a launch count themselves; each launch leaves zeros behind.

    Launches that may run at the same time must not share them. As with the workspaces of cuBLAS,
    every stream has its own, and captured graphs have theirs, which one thread replays one after
    the other.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._captured = self._allocate()
        self._by_stream: dict[int, Tensor] = {}

    def current(self) -> Tensor:
        """Return those of the current stream, int32, one for each tile."""
        if self._device.type != 'cuda' or torch.cuda.is_current_stream_capturing():
            return self._captured
        stream = torch.cuda.current_stream(self._device).cuda_stream
        if stream not in self._by_stream:
            self._by_stream[stream] = self._allocate()
        return self._by_stream[stream]

    def _allocate(self) -> Tensor:
        # More tiles than programs are not split. Passes run in inference mode, measurements do
        # not; only an ordinary tensor can be written in both.
        with torch.inference_mode(False):
            return torch.zeros(_PROGRAMS, dtype=torch.int32, device=self._device)


# As operations of PyTorch, launches are seen by whoever counts operations.
@torch.library.custom_op('vla_ros::gemv', mutates_args=('counters',))
def gemv(x: Tensor, weight: Tensor, scale: Tensor | None, norm: Tensor | None, eps: float,
         residual: Tensor | None, is_gated: bool, counters: Tensor,
         tiling: Sequence[int] | None = None) -> Tensor:
    """
    Multiply one row with a matrix, in one kernel.

    :param x: (…, hidden), one row, contiguous.
    :param weight: (out, hidden), contiguous; with ``is_gated`` (2·out, hidden).
    :param scale: float32, a factor for each row of the matrix; None for ones.
    :param norm: (hidden,), the factors of a root mean square norm of x; None for no norm.
    :param eps: of that norm.
    :param residual: (…, out), added to the product; None for zeros.
    :param is_gated: whether to compute silu(gate)·up of both halves of the product.
    :param counters: from :class:`Counters`.
    :param tiling: rows and columns of the matrix that a program multiplies at a time, powers of
        two, and its warps; None for what is usual.
    :returns: (…, out).
    """
    tiling = tiling or (_GATED_TILING if is_gated else _TILING)
    columns = weight.shape[1]
    rows = weight.shape[0] // 2 if is_gated else weight.shape[0]
    splits, tiles = choose_splits(rows, columns, tiling), triton.cdiv(rows, tiling[0])
    out = x.new_empty(*x.shape[:-1], rows)
    partial = None if splits == 1 else x.new_empty(2 * splits * tiles * tiling[0],
                                                   dtype=torch.float32)
    _gemv[(tiles, splits)](
        x, norm, weight, scale, residual, out, partial, counters, rows, eps, COLUMNS=columns,
        ROWS=tiling[0], BLOCK=tiling[1], SPLITS=splits, IS_GATED=is_gated, num_warps=tiling[2])
    return out
