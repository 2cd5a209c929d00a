# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The Triton kernels against PyTorch's operations; test_triton_kernels.py runs it.

Triton reads TRITON_INTERPRET when it is imported, so this needs a process of its own.
"""

from types import SimpleNamespace

import pytest
from test_engine import cases
from test_engine import COUNT
from test_engine import random_network
import torch
from torch import nn
from triton.runtime import interpreter

from vla_ros.bench.kernels import decode_operations
from vla_ros.model.cache_positions import DevicePositions
from vla_ros.model.engine import Engine
from vla_ros.model.fused import FusedOperations
from vla_ros.model.fused import SplitKOperations
from vla_ros.model.fused import use_fused_kernels
from vla_ros.model.fused import use_split_k_kernels
from vla_ros.model.gemv_kernels import choose_splits
from vla_ros.model.gemv_kernels import Counters
from vla_ros.model.gemv_kernels import gemv
from vla_ros.model.layer_operations import PlainOperations
from vla_ros.model.layer_operations import RmsNorm
from vla_ros.model.quantize import Fp8Linear
from vla_ros.model.quantize import quantize

# The interpreter truncates to bfloat16 where a GPU rounds: up to 2**-7 at each of three places.
DTYPES = pytest.mark.parametrize(('dtype', 'tolerance'), [
    (torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 3 * 2**-7)])
# Rows and columns of matrices: less than a tile, whole ones, and tiles that 2 and 4 share.
MATRICES = pytest.mark.parametrize(('rows', 'columns', 'splits'), [
    (3, 20, 1), (16, 512, 1), (20, 600, 2), (45, 1300, 2), (9, 2100, 4)])
CPU = torch.device('cpu')
PLAIN, FUSED, SPLIT_K = PlainOperations(), FusedOperations(CPU), SplitKOperations(CPU)


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def norm_of(dim, dtype):
    norm = RmsNorm(dim, 1e-6)
    nn.init.normal_(norm.weight, 1.0, 0.2)
    return norm.to(dtype)


def matrix_of(rows, columns, dtype):
    return nn.Linear(columns, rows, bias=False, dtype=dtype)


@DTYPES
@pytest.mark.parametrize(('rows', 'dim'), [(1, 96), (6, 100), (3, 256)])
@torch.no_grad()
def test_add_norm_gives_the_sum_and_its_norm(dtype, tolerance, rows, dim):
    norm = norm_of(dim, dtype)
    x, update = torch.randn(2, 1, rows, dim, dtype=dtype)
    total, normed = FUSED.add_norm(x, update, norm)
    expected, expected_normed = PLAIN.add_norm(x, update, norm)
    close(total, expected, 0.0 if dtype != torch.bfloat16 else 2**-7)
    close(normed, expected_normed, tolerance)
    total, normed = FUSED.add_norm(x, None, norm)
    assert total is x
    close(normed, norm(x), tolerance)


@DTYPES
@pytest.mark.parametrize(('heads', 'key_heads', 'size'), [(4, 4, 8), (4, 2, 24), (2, 1, 16)])
@torch.no_grad()
def test_queries_keys_and_values_are_rotated_and_stored(dtype, tolerance, heads, key_heads, size):
    rows, length = 3, 10
    positions = DevicePositions.of(torch.tensor([4, 5, 7]), torch.arange(length), dtype)
    stacked = torch.randn(1, rows, heads + 2 * key_heads, size, dtype=dtype)
    rotary = torch.randn(2, 1, rows, 1, size, dtype=dtype)
    caches = torch.randn(2, 1, length, key_heads, size, dtype=dtype).repeat(2, 1, 1, 1, 1, 1)
    fused, plain = (operations.rotate_and_store(stacked, key_heads, rotary, cache, positions)
                    for operations, cache in zip((FUSED, PLAIN), caches))
    close(fused, plain, tolerance)
    close(caches[0], caches[1], tolerance)


@DTYPES
@pytest.mark.parametrize(('rows', 'hidden', 'dim'), [(1, 96, 48), (1, 600, 20), (5, 96, 48)])
@torch.no_grad()
def test_the_gated_activation_of_one_row_and_of_several(dtype, tolerance, rows, hidden, dim):
    gate_up = matrix_of(2 * dim, hidden, dtype)
    x = torch.randn(1, rows, hidden, dtype=dtype)
    close(FUSED.gated(x, gate_up), PLAIN.gated(x, gate_up), tolerance)


@DTYPES
@MATRICES
@torch.no_grad()
def test_fused_operations_of_one_row_agree_with_pytorch(dtype, tolerance, rows, columns, splits):
    assert choose_splits(rows, columns) == splits
    torch.manual_seed(rows)
    norm, matrix = norm_of(columns, dtype), matrix_of(rows, columns, dtype)
    gate_up = matrix_of(2 * rows, columns, dtype)
    x, residual = torch.randn(1, 1, columns, dtype=dtype), torch.randn(1, 1, rows, dtype=dtype)
    close(SPLIT_K.linear(x[0], matrix), matrix(x[0]), tolerance)
    stream, projected = SPLIT_K.norm_linear(x, None, norm, matrix)
    assert stream is x
    close(projected, PLAIN.norm_linear(x, None, norm, matrix)[1], tolerance)
    close(SPLIT_K.norm_gated(x, None, norm, gate_up)[1],
          PLAIN.norm_gated(x, None, norm, gate_up)[1], tolerance)
    total, update = SPLIT_K.add_linear(residual, x, matrix)
    assert update is None
    close(total, residual + matrix(x), tolerance)
    assert not SPLIT_K._counters.current().any(), 'the next launch would not reduce its sums'


@MATRICES
@torch.no_grad()
def test_products_with_8_bit_weights_round_only_sums(rows, columns, splits):
    # The interpreter has e4m3. Weights are exact in it, so nothing but the sums is rounded.
    torch.manual_seed(rows)
    norm = norm_of(columns, torch.float32)
    matrices = [Fp8Linear(matrix_of(count, columns, torch.float32)) for count in (rows, 2 * rows)]
    wide = []
    for matrix in matrices:
        wide.append(matrix_of(*matrix.weight.shape, torch.float32))
        wide[-1].weight.copy_(matrix.weight.float() * matrix.scale[:, None])
    x, residual = torch.randn(1, 1, columns), torch.randn(1, 1, rows)
    close(SPLIT_K.norm_linear(x, None, norm, matrices[0])[1],
          PLAIN.norm_linear(x, None, norm, wide[0])[1], 1e-5)
    close(SPLIT_K.norm_gated(x, None, norm, matrices[1])[1],
          PLAIN.norm_gated(x, None, norm, wide[1])[1], 1e-5)
    close(SPLIT_K.add_linear(residual, x, matrices[0])[0], residual + wide[0](x), 1e-5)


@torch.no_grad()
def test_sums_do_not_depend_on_the_order_of_programs(monkeypatch):
    splits = choose_splits(16, 9000)
    assert splits == 16
    matrix, x = matrix_of(16, 9000, torch.float32), torch.randn(1, 9000)
    expected, order = SPLIT_K.linear(x, matrix), torch.randperm(splits).tolist()
    place = interpreter.interpreter_builder.set_grid_idx
    monkeypatch.setattr(interpreter.interpreter_builder, 'set_grid_idx',
                        lambda tile, split, z: place(tile, order[split], z))
    assert torch.equal(SPLIT_K.linear(x, matrix), expected)


@torch.no_grad()
@pytest.mark.parametrize('tiling', [(4, 1024, 4), (16, 256, 8)])
def test_every_tiling_gives_the_same_product(tiling):
    matrix, x = matrix_of(21, 1300, torch.float32), torch.randn(1, 1300)
    counters = SPLIT_K._counters.current()
    product = gemv(x, matrix.weight, None, None, 0.0, None, False, counters, tiling)
    close(product, matrix(x), 1e-5)


@torch.no_grad()
def test_kernels_run_in_inference_mode_and_outside():
    x, matrix = torch.randn(1, 600), matrix_of(4, 600, torch.float32)
    with torch.inference_mode():
        operations = SplitKOperations(CPU)
        operations.linear(x, matrix)
    close(operations.linear(x, matrix), matrix(x), 1e-5)


def test_concurrent_launches_have_separate_counters(monkeypatch):
    capturing, stream = [], SimpleNamespace(cuda_stream=1)
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: bool(capturing))
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: stream)
    monkeypatch.setattr(Counters, '_allocate', lambda self: torch.zeros(1, dtype=torch.int32))
    counters = Counters(torch.device('cuda'))
    first = counters.current()
    assert counters.current() is first
    stream.cuda_stream = 2
    second = counters.current()
    capturing.append(True)
    captured = counters.current()
    stream.cuda_stream = 1
    assert counters.current() is captured, 'graphs are replayed one after the other'
    assert len({id(one) for one in (first, second, captured)}) == 3


@torch.no_grad()
def test_several_rows_and_adapted_matrices_use_plain_products():
    norm, matrix, x = norm_of(8, torch.float32), matrix_of(4, 8, torch.float32), torch.randn(2, 8)
    stream, update = SPLIT_K.add_linear(torch.ones(2, 4), x, matrix)
    assert torch.equal(stream, torch.ones(2, 4)) and torch.equal(update, matrix(x))
    adapted = nn.Sequential(matrix, nn.Identity())
    stream, update = SPLIT_K.add_linear(torch.ones(1, 4), x[:1], adapted)
    assert torch.equal(update, matrix(x[:1]))
    total, projected = SPLIT_K.norm_linear(x[:1], x[1:], norm, adapted)
    close(total, x[:1] + x[1:], 1e-6)
    close(projected, matrix(norm(x[:1] + x[1:])), 1e-5)


@pytest.mark.parametrize('use_kernels', [use_fused_kernels, use_split_k_kernels])
def test_an_engine_with_triton_kernels_has_the_tokens_of_plain_decoding(use_kernels):
    network = random_network(0)
    drawn = cases(network, 10)[:2]
    use_kernels(network)
    engine = Engine(network, 64, COUNT)
    for case in drawn:
        assert case.run(engine).token_ids == case.tokens
        assert case.run(engine, [0, *case.tokens[1:]]).token_ids == case.tokens


@pytest.mark.parametrize(('use_kernels', 'weights', 'most'), [
    (use_fused_kernels, 'none', 8), (use_split_k_kernels, 'none', 6),
    (use_split_k_kernels, 'fp8', 6)])
def test_the_kernel_launches_of_a_layer_are_counted(use_kernels, weights, most):
    network = random_network(0)
    quantize(network, weights, CPU)
    use_kernels(network)
    counted = decode_operations(network, Engine(network, 64, COUNT).buffers, 20)
    assert sum(counted.per_layer.values()) == most, counted
    assert 'vla_ros::gemv' in counted.per_layer
