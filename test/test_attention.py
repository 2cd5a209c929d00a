# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

from contextlib import contextmanager
import re
import sys
import types

import pytest

from vla_ros.errors import UnsupportedError

torch = pytest.importorskip('torch')

from torch.nn.attention import SDPBackend  # noqa: E402, I100
from vla_ros.model import attention  # noqa: E402
from vla_ros.model.attention import attend_eager  # noqa: E402
from vla_ros.model.attention import attend_sdpa  # noqa: E402
from vla_ros.model.attention import choose_attention  # noqa: E402
from vla_ros.model.attention import choose_backend  # noqa: E402
from vla_ros.model.attention import try_flash_attn  # noqa: E402

CPU = torch.device('cpu')


@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('queries, keys, heads, kv_heads', [
    (7, 7, 4, 4), (1, 9, 4, 4), (5, 9, 4, 4), (7, 7, 4, 2), (5, 9, 6, 1)])
def test_sdpa_and_eager_attention_agree(queries, keys, heads, kv_heads, causal):
    query = torch.randn(1, queries, heads, 16)
    key, value = torch.randn(2, 1, keys, kv_heads, 16)
    torch.testing.assert_close(attend_sdpa(query, key, value, causal),
                               attend_eager(query, key, value, causal))


def test_a_causal_query_ignores_later_keys():
    query, key, value = torch.randn(3, 1, 6, 2, 8)
    before = attend_sdpa(query, key, value, True)
    key[:, 4:], value[:, 4:] = 9.0, 9.0
    after = attend_sdpa(query, key, value, True)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert not torch.allclose(after[:, 4:], before[:, 4:])


def test_auto_reports_the_chosen_attention_and_the_reason():
    chosen = choose_attention('auto', CPU, torch.float32)
    assert chosen.name == 'sdpa'
    assert 'flash-attn needs a CUDA device' in chosen.reason


def test_flash_attention_set_by_name_is_an_error_where_it_cannot_run():
    with pytest.raises(UnsupportedError, match='needs a CUDA device; use auto, sdpa or eager'):
        choose_attention('flash_attention_2', CPU, torch.bfloat16)


@pytest.mark.parametrize(('module', 'expected'), [
    (None, 'flash-attn is not installed'),
    ({}, 'flash-attn cannot be imported|flash-attn is installed but fails'),
    ({'flash_attn_func': 'broken'}, 'fails: undefined symbol'),
    ({'flash_attn_func': 'works'}, None)])
def test_flash_attention_is_available_only_if_a_trial_call_succeeds(monkeypatch, module, expected):
    def broken(*arguments, **keywords):
        raise RuntimeError('undefined symbol\nof another torch')

    functions = {'broken': broken, 'works': lambda query, key, value, causal: query}
    if module is not None:
        fake = types.ModuleType('flash_attn')
        for name, kind in module.items():
            setattr(fake, name, functions[kind])
        monkeypatch.setitem(sys.modules, 'flash_attn', fake)
    obstacle = try_flash_attn(CPU, torch.float32)
    assert obstacle is None if expected is None else re.search(expected, obstacle)


def test_the_first_sdpa_backend_that_runs_is_chosen(monkeypatch):
    refused = {SDPBackend.FLASH_ATTENTION}
    monkeypatch.setattr(attention.functional, 'scaled_dot_product_attention',
                        lambda query, *arguments, **keywords: run(query))
    pinned = []

    @contextmanager
    def pin(backend):
        pinned.append(backend)
        yield

    def run(query):
        if pinned[-1] in refused:
            raise RuntimeError('no available kernel')
        return query

    monkeypatch.setattr(attention, 'sdpa_kernel', pin)
    choose_backend.cache_clear()
    try:
        assert choose_backend(CPU, torch.float32, 16, False) == SDPBackend.EFFICIENT_ATTENTION
        refused.clear()
        assert choose_backend(CPU, torch.float32, 8, False) == SDPBackend.FLASH_ATTENTION
        refused.update(attention._BACKENDS)
        with pytest.raises(UnsupportedError, match='use attention eager'):
            choose_backend(CPU, torch.float32, 4, True)
    finally:
        choose_backend.cache_clear()
