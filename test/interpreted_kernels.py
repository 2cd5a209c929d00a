# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The Triton kernels against PyTorch's operations; test_triton_kernels.py runs it.

Triton reads TRITON_INTERPRET when it is imported, so this needs a process of its own.
"""

import pytest
from test_engine import cases
from test_engine import COUNT
from test_engine import random_network
import torch

from vla_ros.bench.kernels import decode_operations
from vla_ros.model.cache_positions import DevicePositions
from vla_ros.model.engine import Engine
from vla_ros.model.fused import FusedOperations
from vla_ros.model.fused import use_fused_kernels
from vla_ros.model.layer_operations import PlainOperations
from vla_ros.model.layer_operations import RmsNorm

# The interpreter truncates to bfloat16 where a GPU rounds: up to 2**-7 at each of three places.
DTYPES = pytest.mark.parametrize(('dtype', 'tolerance'), [
    (torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 3 * 2**-7)])
PLAIN = PlainOperations()


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@DTYPES
@pytest.mark.parametrize(('rows', 'dim'), [(1, 96), (6, 100), (3, 256)])
@torch.no_grad()
def test_the_norm_is_that_of_the_sum(dtype, tolerance, rows, dim):
    norm = RmsNorm(dim, 1e-6)
    torch.nn.init.normal_(norm.weight, 1.0, 0.2)
    norm.to(dtype)
    x, update = torch.randn(2, 1, rows, dim, dtype=dtype)
    total, normed = FusedOperations().add_norm(x, update, norm)
    expected, expected_normed = PLAIN.add_norm(x, update, norm)
    close(total, expected, 0.0 if dtype != torch.bfloat16 else 2**-7)
    close(normed, expected_normed, tolerance)


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
                    for operations, cache in zip((FusedOperations(), PLAIN), caches))
    close(fused, plain, tolerance)
    close(caches[0], caches[1], tolerance)


@DTYPES
@pytest.mark.parametrize(('rows', 'hidden', 'dim'), [(1, 96, 48), (1, 600, 20), (5, 96, 48)])
@torch.no_grad()
def test_the_gated_activation_of_one_row_and_of_several(dtype, tolerance, rows, hidden, dim):
    gate_up = torch.nn.Linear(hidden, 2 * dim, bias=False, dtype=dtype)
    x = torch.randn(1, rows, hidden, dtype=dtype)
    close(FusedOperations().gated(x, gate_up), PLAIN.gated(x, gate_up), tolerance)


def test_an_engine_with_fused_kernels_has_the_tokens_of_the_plain_way():
    network = random_network(0)
    drawn = cases(network, 10)
    use_fused_kernels(network)
    engine = Engine(network, 64, COUNT)
    for case in drawn:
        assert case.run(engine).token_ids == case.tokens
        assert case.run(engine, [0, *case.tokens[1:]]).token_ids == case.tokens


def test_a_fused_layer_has_no_more_than_eight_kernels(monkeypatch):
    network = random_network(0)
    use_fused_kernels(network)
    engine = Engine(network, 64, COUNT)
    case = cases(network, 10)[0]
    case.run(engine)
    launches = []
    operations = network.language_model.layers[0].operations
    for name in ('add_norm', 'rotate_and_store', 'gated_gemv', 'silu_multiply'):
        kernel = getattr(operations._kernels, name)

        def launch(*arguments, kernel=kernel, name=name):
            launches.append(name)
            # What the interpreter does in PyTorch is no kernel.
            with torch._C._DisableTorchDispatch():
                return kernel(*arguments)

        monkeypatch.setattr(operations._kernels, name, launch)
    counted = decode_operations(network, engine.buffers, 20)
    layers = len(network.language_model.layers)
    # The first layer's norm has nothing to add, so it is an operation of PyTorch.
    kernels = len(launches) / layers
    products = {name: count for name, count in counted.per_layer.items()
                if name in ('aten::mm', 'aten::_scaled_dot_product_flash_attention_for_cpu')}
    assert kernels + sum(products.values()) <= 8, (launches, counted.per_layer)
