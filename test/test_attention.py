# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

import pytest

from vla_ros.errors import UnsupportedError

torch = pytest.importorskip('torch')

from vla_ros.model.attention import attend_eager  # noqa: E402, I100
from vla_ros.model.attention import attend_sdpa  # noqa: E402
from vla_ros.model.attention import choose_attention  # noqa: E402

CPU = torch.device('cpu')


@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('queries, keys, heads, kv_heads', [
    (7, 7, 4, 4), (1, 9, 4, 4), (5, 9, 4, 4), (7, 7, 4, 2), (5, 9, 6, 1)])
def test_kernels_agree(queries, keys, heads, kv_heads, causal):
    query = torch.randn(1, queries, heads, 16)
    key, value = torch.randn(2, 1, keys, kv_heads, 16)
    torch.testing.assert_close(attend_sdpa(query, key, value, causal),
                               attend_eager(query, key, value, causal))


def test_a_causal_query_sees_no_later_key():
    query, key, value = torch.randn(3, 1, 6, 2, 8)
    before = attend_sdpa(query, key, value, True)
    key[:, 4:], value[:, 4:] = 9.0, 9.0
    after = attend_sdpa(query, key, value, True)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert not torch.allclose(after[:, 4:], before[:, 4:])


def test_auto_says_what_it_took_and_why():
    chosen = choose_attention('auto', CPU, torch.float32)
    assert chosen.name == 'sdpa'
    assert 'flash-attn needs a CUDA device' in chosen.reason


def test_flash_attention_by_name_is_never_replaced_by_another():
    with pytest.raises(UnsupportedError, match='needs a CUDA device; use auto, sdpa or eager'):
        choose_attention('flash_attention_2', CPU, torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_auto_takes_the_best_kernel_of_a_gpu():
    device = torch.device('cuda')
    chosen = choose_attention('auto', device, torch.bfloat16)
    query, key, value = torch.randn(3, 1, 64, 4, 64, device=device, dtype=torch.bfloat16)
    torch.testing.assert_close(chosen.attend(query, key, value, True),
                               attend_eager(query, key, value, True), rtol=2e-2, atol=2e-2)
