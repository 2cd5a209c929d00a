# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Invalid adapters, and adapters without effect, are refused."""

import json

from goldens import CASES
import pytest

from vla_ros.errors import CheckpointError
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy

torch = pytest.importorskip('torch')

from safetensors.torch import save_file  # noqa: E402, I100
from vla_ros.model.lora import read_adapter  # noqa: E402

MODULE = 'base_model.model.language_model.model.layers.0.self_attn.q_proj'


def write_adapter(folder, tensors, **config):
    folder.mkdir(exist_ok=True)
    (folder / 'adapter_config.json').write_text(
        json.dumps({'peft_type': 'LORA', 'r': 4, 'lora_alpha': 8, **config}))
    save_file(tensors, folder / 'adapter_model.safetensors')
    return folder


def lora_pair(width, height=None, up=1.0, module=MODULE, rank=4):
    return {f'{module}.lora_A.weight': torch.ones(rank, width),
            f'{module}.lora_B.weight': torch.full((height or width, rank), up)}


@pytest.mark.parametrize('tensors, message', [
    ({}, 'holds no tensors: DeepSpeed ZeRO-3'),
    ({f'{MODULE}.lora_A.weight': torch.zeros(0), f'{MODULE}.lora_B.weight': torch.zeros(0)},
     'holds no tensors: DeepSpeed ZeRO-3'),
    (lora_pair(16, up=0.0), 'changes nothing: lora_A or lora_B is zero'),
    (lora_pair(16, up=float('nan')), 'must hold finite'),
    ({key: value.to(torch.int8) for key, value in lora_pair(16).items()}, 'must hold finite'),
    (lora_pair(16, rank=0) | lora_pair(16, module=MODULE + '2'), 'do not make a pair'),
])
def test_empty_zero_or_not_finite_adapter_weights_are_refused(tmp_path, tensors, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read_adapter(write_adapter(tmp_path / 'a', tensors))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('config, message', [
    ({'lora_alpha': 0}, 'lora_alpha: got 0'), ({'lora_alpha': '8'}, "lora_alpha: got '8'"),
    ({'lora_alpha': float('nan')}, 'lora_alpha: got nan'), ({'lora_alpha': []}, 'lora_alpha'),
    ({'lora_alpha': 1e300}, 'lora_alpha'),
    ({'alpha_pattern': [1]}, 'alpha_pattern'), ({'alpha_pattern': {'q_proj': 'x'}}, 'q_proj'),
    ({'alpha_pattern': {'(': 1}}, 'a regular expression'), ({'use_rslora': 'yes'}, 'use_rslora'),
    ({'alpha_pattern': {'q_proj': 0}}, 'other than zero'),
    ({'peft_type': ['LORA']}, 'peft_type'), ({'bias': {'a': 1}}, 'bias'),
])
def test_an_invalid_adapter_config_is_refused(tmp_path, config, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read_adapter(write_adapter(tmp_path / 'a', lora_pair(16), **config))
    assert '\n' not in str(caught.value) and 'adapter_config.json' in str(caught.value)


def load(checkpoint, **settings):
    return load_policy(PolicyConfig(str(checkpoint), CASES[0]['unnorm_key'], device='cpu',
                                    warmup=False, **settings))


def test_adapter_weights_for_unused_layers_are_refused(golden_checkpoints, tmp_path):
    checkpoint = golden_checkpoints['float32']
    policy = load(checkpoint)
    tower = policy.engine.network.config.towers[0]
    last = f'base_model.model.vision_backbone.featurizer.blocks.{tower.depth - 1}.attn.proj'
    adapter = write_adapter(tmp_path / 'a', lora_pair(tower.embed_dim, module=last))
    with pytest.raises(CheckpointError, match='changes nothing: its 1 pairs are for layers'):
        load(checkpoint, adapters={'a': str(adapter)})
    nowhere = write_adapter(tmp_path / 'b',
                            lora_pair(16, module=MODULE.replace('q_proj', 'x_proj')))
    for adapters in ({'b': str(nowhere)}, {'a': str(adapter), 'b': str(nowhere)}):
        with pytest.raises(CheckpointError):
            load(checkpoint, adapters=adapters)
