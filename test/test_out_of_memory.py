# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""An out-of-memory error names the memory of each module and a quantization that would fit."""

import pytest

torch = pytest.importorskip('torch')

from vla_ros.errors import DeviceMemoryError  # noqa: E402, I100
from vla_ros.model import load  # noqa: E402
from vla_ros.model.config import LlamaConfig  # noqa: E402
from vla_ros.model.config import OpenVlaConfig  # noqa: E402
from vla_ros.model.config import PUBLISHED_TOWERS  # noqa: E402
from vla_ros.model.config import VitConfig  # noqa: E402
from vla_ros.model.out_of_memory import explain_memory  # noqa: E402
from vla_ros.model.out_of_memory import needs  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402
from vla_ros.policy.load import load_policy  # noqa: E402

CPU = torch.device('cpu')


def openvla_7b():
    towers = []
    for name in ('vit_large_patch14_reg4_dinov2', 'vit_so400m_patch14_siglip_224'):
        described = {key: value for key, value in PUBLISHED_TOWERS[name].items()
                     if key != 'global_pool'}
        towers.append(VitConfig(224, **described))
    return OpenVlaConfig(tuple(towers), LlamaConfig(32064), 'llama2-7b-pure', 256, 32000, {})


def test_the_computed_memory_of_openvla_7b_fits_its_published_size():
    parts = needs(openvla_7b(), torch.bfloat16)
    # 7.54 billion parameters in two bytes, less the last block of each tower and what follows it
    assert 14.8e9 < parts['vision'] + parts['language model'] < 15.1e9
    assert parts['key-value cache'] == 768 * 2 * 32 * 4096 * 2


@pytest.mark.parametrize(('free', 'expected'), [
    (12e9, 'quantization int8 (8.'), (6.5e9, 'what would fit: quantization int4 (5.'),
    (1e9, 'nothing smaller would fit')])
def test_a_quantization_that_would_fit_is_named(monkeypatch, free, expected):
    monkeypatch.setattr('vla_ros.model.out_of_memory.memory_of',
                        lambda device: (int(free), int(16e9)))
    with pytest.raises(DeviceMemoryError) as raised:
        with explain_memory(openvla_7b(), CPU, torch.bfloat16):
            raise torch.OutOfMemoryError('CUDA out of memory')
    assert expected in str(raised.value)
    assert 'language model 12.' in str(raised.value)
    assert '\n' not in str(raised.value)


def test_out_of_memory_on_a_cpu_is_explained():
    with pytest.raises(DeviceMemoryError, match='out of memory on cpu'):
        with explain_memory(openvla_7b(), CPU, torch.float32):
            torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_are_not_changed():
    with pytest.raises(RuntimeError, match='must match'):
        with explain_memory(openvla_7b(), CPU, torch.float32):
            torch.ones(2) + torch.ones(3)


def test_out_of_memory_during_loading_is_explained(golden_checkpoints, monkeypatch):
    def exhaust(*arguments):
        raise torch.OutOfMemoryError('CUDA out of memory')
    monkeypatch.setitem(load._LOADERS, 'tokens', exhaust)
    with pytest.raises(DeviceMemoryError, match='key-value cache'):
        load_policy(PolicyConfig(str(golden_checkpoints['float32']), 'golden_bridge',
                                 device='cpu'))
