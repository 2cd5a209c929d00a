# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The Triton kernels on a GPU, which runs the programs of a launch concurrently."""

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('triton', reason='Triton comes with PyTorch for CUDA')
pytest.importorskip('transformers')

from test_engine import cases  # noqa: E402, I100
from test_engine import COUNT  # noqa: E402
from test_engine import random_network  # noqa: E402
from torch import nn  # noqa: E402
from vla_ros.bench.kernels import decode_operations  # noqa: E402
from vla_ros.model.engine import Engine  # noqa: E402
from vla_ros.model.fused import SplitKOperations  # noqa: E402
from vla_ros.model.fused import use_fused_kernels  # noqa: E402
from vla_ros.model.fused import use_split_k_kernels  # noqa: E402
from vla_ros.model.layer_operations import PlainOperations  # noqa: E402
from vla_ros.model.layer_operations import RmsNorm  # noqa: E402
from vla_ros.model.quantize import Fp8Linear  # noqa: E402

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')]

CUDA = torch.device('cuda')
PLAIN = PlainOperations()
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def matrix_of(rows, columns, dtype):
    return nn.Linear(columns, rows, bias=False, device=CUDA, dtype=dtype)


def norm_of(columns, dtype):
    norm = RmsNorm(columns, 1e-6)
    nn.init.normal_(norm.weight, 1.0, 0.2)
    return norm.to(CUDA, dtype)


@torch.no_grad()
@pytest.mark.parametrize('weights', ['full', 'fp8'])
@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize(('rows', 'columns'), [(4096, 11008), (45, 1300)])
def test_split_k_operations_agree_with_those_of_pytorch(weights, dtype, rows, columns):
    operations, close = SplitKOperations(CUDA), torch.testing.assert_close
    norm, tolerance = norm_of(columns, dtype), TOLERANCES[dtype]
    matrix, gate_up = matrix_of(rows, columns, dtype), matrix_of(2 * rows, columns, dtype)
    used = [matrix, gate_up]
    if weights == 'fp8':
        used = [Fp8Linear(one) for one in used]
        for wide, narrow in zip((matrix, gate_up), used):
            wide.weight.copy_(narrow.weight.float() * narrow.scale[:, None])
        tolerance += 2**-8 if dtype == torch.bfloat16 else 0.0  # the wide weights are rounded
    x = torch.randn(1, 1, columns, device=CUDA, dtype=dtype)
    residual = torch.randn(1, 1, rows, device=CUDA, dtype=dtype)
    for _ in range(20):
        close(operations.norm_linear(x, None, norm, used[0])[1],
              PLAIN.norm_linear(x, None, norm, matrix)[1], rtol=tolerance, atol=tolerance)
        close(operations.norm_gated(x, None, norm, used[1])[1],
              PLAIN.norm_gated(x, None, norm, gate_up)[1], rtol=tolerance, atol=tolerance)
        close(operations.add_linear(residual, x, used[0])[0], residual + matrix(x),
              rtol=tolerance, atol=tolerance)
    assert not operations._counters.current().any()


@torch.no_grad()
def test_a_product_has_the_same_bits_on_concurrent_streams():
    operations = SplitKOperations(CUDA)
    matrix, x = matrix_of(4096, 11008, torch.bfloat16), torch.randn(1, 11008, device=CUDA)
    x = x.bfloat16()
    expected = operations.linear(x, matrix)
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    results = []
    for _ in range(200):
        for stream in streams:
            with torch.cuda.stream(stream):
                results.append(operations.linear(x, matrix))
    torch.cuda.synchronize()
    assert all(torch.equal(result, expected) for result in results)


@pytest.mark.parametrize('use_kernels', [use_fused_kernels, use_split_k_kernels])
def test_captured_kernels_have_the_tokens_of_plain_decoding(use_kernels):
    network = random_network(0)
    drawn = cases(network, 50, seed=2)
    use_kernels(network.to(CUDA))
    engine = Engine(network, 64, COUNT)
    engine.prepare([2, 18, 30])
    for case in drawn:
        assert case.run(engine).token_ids == case.tokens
        assert case.run(engine, [0, *case.tokens[1:]]).token_ids == case.tokens
    limit = 8 if use_kernels is use_fused_kernels else 6
    assert sum(decode_operations(network, engine.buffers, 20).per_layer.values()) <= limit
