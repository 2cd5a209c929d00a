# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Attention kernels of a GPU against the reference."""

import pytest

torch = pytest.importorskip('torch')

from torch.nn.attention import sdpa_kernel  # noqa: E402, I100
from torch.nn.attention import SDPBackend  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

from vla_ros.bench.kernels import count_operations  # noqa: E402
from vla_ros.model.attention import attend_biased  # noqa: E402
from vla_ros.model.attention import attend_eager  # noqa: E402
from vla_ros.model.attention import attend_sdpa  # noqa: E402
from vla_ros.model.attention import choose_attention  # noqa: E402
from vla_ros.model.cache_positions import DevicePositions  # noqa: E402

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')]

CUDA = torch.device('cuda')
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('head', [64, 72, 128])
@pytest.mark.parametrize(('queries', 'keys'), [(287, 287), (1, 301), (6, 301)])
def test_the_chosen_sdpa_backend_agrees_with_eager_attention(dtype, head, queries, keys):
    query = torch.randn(1, queries, 4, head, device=CUDA, dtype=dtype)
    key, value = torch.randn(2, 1, keys, 4, head, device=CUDA, dtype=dtype)
    expected = attend_eager(query, key, value, True)
    tolerance = {'rtol': TOLERANCES[dtype], 'atol': TOLERANCES[dtype]}
    torch.testing.assert_close(attend_sdpa(query, key, value, True), expected, **tolerance)
    order = torch.arange(keys, device=CUDA)
    bias = torch.zeros(queries, keys, device=CUDA, dtype=dtype).masked_fill(
        order > order[-queries:, None], float('-inf'))
    torch.testing.assert_close(attend_biased(query, key, value, bias), expected, **tolerance)


@pytest.mark.parametrize('backend', [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION,
                                     SDPBackend.EFFICIENT_ATTENTION])
def test_every_sdpa_backend_agrees_with_the_math_backend(backend):
    query, key, value = torch.randn(3, 1, 4, 128, 64, device=CUDA, dtype=torch.bfloat16)
    with sdpa_kernel(SDPBackend.MATH):
        expected = scaled_dot_product_attention(query, key, value, is_causal=True)
    try:
        with sdpa_kernel(backend):
            actual = scaled_dot_product_attention(query, key, value, is_causal=True)
    except RuntimeError as error:
        pytest.skip(f'{backend.name} does not run here: {error}')
    torch.testing.assert_close(actual, expected, rtol=2e-2, atol=2e-2)


def test_attention_with_an_unaligned_bias_is_one_operation():
    query = torch.randn(1, 1, 4, 128, device=CUDA, dtype=torch.bfloat16)
    key, value = torch.randn(2, 1, 301, 4, 128, device=CUDA, dtype=torch.bfloat16)
    bias = DevicePositions.of(torch.tensor([290], device=CUDA), torch.arange(301, device=CUDA),
                              torch.bfloat16).bias
    counted = count_operations(lambda: attend_biased(query, key, value, bias))
    assert sum(counted.values()) == 1, counted


def test_auto_chooses_a_kernel_that_agrees_with_eager_attention_and_names_it():
    chosen = choose_attention('auto', CUDA, torch.bfloat16)
    query, key, value = torch.randn(3, 1, 64, 4, 64, device=CUDA, dtype=torch.bfloat16)
    torch.testing.assert_close(chosen.attend(query, key, value, True),
                               attend_eager(query, key, value, True), rtol=2e-2, atol=2e-2)
    assert 'flash' in chosen.reason.lower() or 'EFFICIENT' in chosen.reason
