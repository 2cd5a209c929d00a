# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Measures at what rate the matrix products of one row read their weights."""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import os
from typing import Any

import torch
from torch import nn
from torch import Tensor

from vla_ros.bench.gpu_inputs import keep
from vla_ros.bench.gpu_inputs import random_policy_of
from vla_ros.bench.gpu_inputs import time_runs
from vla_ros.model.graph_capture import choose_recorder
from vla_ros.model.graph_capture import Recorder
from vla_ros.model.quantize import Fp8Linear

#: Rows and columns of a tile, and warps of a program; the first is what the engine uses.
TILINGS = ((8, 512, 4), (4, 1024, 4), (16, 512, 8))
#: The matrices of a layer; the one of the gated activation is marked.
MATRICES = {'self_attn.qkv_proj': False, 'self_attn.o_proj': False, 'mlp.gate_up_proj': True,
            'mlp.down_proj': False}


@dataclass(frozen=True)
class Row:
    """
    Memory of a pass.

    :param x: (1, in).
    """

    x: Tensor

    def scratch(self) -> 'Row':
        """Allocate the like."""
        return Row(torch.zeros_like(self.x))


def products(arguments: argparse.Namespace) -> dict[str, Any]:
    """
    Compare the split-K kernel in several tilings with PyTorch, in GB of weights a second.

    A pass reads one matrix of every layer: more than a cache holds of the next round's.
    """
    if arguments.device == 'cpu':
        # Read when the kernels are imported: a rehearsal has Triton's interpreter for a GPU.
        os.environ['TRITON_INTERPRET'] = '1'
    from vla_ros.model.gemv_kernels import Counters
    from vla_ros.model.gemv_kernels import gemv  # with Triton, which is not everywhere
    network = random_policy_of(arguments).engine.network
    recorder, counters = choose_recorder(network), Counters(network.device)
    result: dict[str, Any] = {}

    def multiply(matrices: Sequence[nn.Linear | Fp8Linear], is_gated: bool,
                 tiling: Sequence[int]) -> Callable[[Row], None]:
        def run(row: Row) -> None:
            for matrix in matrices:
                scale = matrix.scale if isinstance(matrix, Fp8Linear) else None
                gemv(row.x, matrix.weight, scale, None, 0.0, None, is_gated, counters.current(),
                     tiling)
        return run

    for path, is_gated in MATRICES.items():
        wide = [layer.get_submodule(path) for layer in network.language_model.layers]
        row = Row(torch.randn(1, wide[0].in_features).to(wide[0].weight))
        narrow = [Fp8Linear(matrix) for matrix in wide]
        for weights, matrices in (('full weights', wide), ('fp8', narrow)):
            size = sum(matrix.weight.nbytes for matrix in matrices)
            runs = {'PyTorch': _in_pytorch(matrices), **{
                f'{rows}x{columns}, {warps} warps': multiply(
                    matrices, is_gated, (rows, columns, warps))
                for rows, columns, warps in TILINGS}}
            result[f'{path}, {weights}'] = {
                name: _rate(recorder, run, row, size, arguments.rounds)
                for name, run in runs.items()}
            keep(result)
    return result


def _in_pytorch(matrices: Sequence[nn.Module]) -> Callable[[Row], None]:
    def run(row: Row) -> None:
        for matrix in matrices:
            matrix(row.x)
    return run


def _rate(recorder: Recorder, run: Callable[[Row], None], row: Row, size: int,
          rounds: int) -> float:
    """Return GB/s."""
    with torch.inference_mode():
        spent = time_runs(recorder.record(run, row), row.x.device, rounds)
    return round(size / spent['p50_ms'] / 1e6, 1)
