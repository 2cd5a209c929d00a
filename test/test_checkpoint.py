# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Checkpoints of other shapes than the published ones, and errors of damaged ones."""

import copy
import json

from goldens import CASES
from goldens import rgb
from goldens import SPEC
import numpy as np
import pytest

from vla_ros.errors import CheckpointError
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.util.tiny_checkpoint import write_checkpoint

torch = pytest.importorskip('torch')

from safetensors.torch import load_file  # noqa: E402, I100
from safetensors.torch import save_file  # noqa: E402
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.model.config import read_config  # noqa: E402
from vla_ros.util.tiny_tokenizer import write_tokenizer  # noqa: E402

IMAGE = rgb(CASES[1]['image'])


def variant(**changes):
    """Copy the golden spec with a small vocabulary and some changes."""
    spec = copy.deepcopy(SPEC)
    spec['config']['text_config'].update(vocab_size=1024 + 64, num_hidden_layers=1)
    spec['gain']['other_rows'] = 0.0
    for path, value in changes.items():
        *parents, name = path.split('__')
        place = spec
        for parent in parents:
            place = place[parent]
        place[name] = value
    return spec


def single_tower(spec):
    name = spec['config']['timm_model_ids'][1]
    spec['config'].update(use_fused_vision_backbone=False, timm_model_ids=[name],
                          image_sizes=[56], timm_override_act_layers=[None],
                          vision_backbone_id='siglip-vit-so400m')
    for key in ('input_sizes', 'means', 'stds', 'tvf_crop_params', 'tvf_normalize_params',
                'tvf_resize_params', 'interpolations'):
        spec['preprocessor'][key] = spec['preprocessor'][key][1:]
    return spec


def without_mask(spec):
    for dataset in spec['norm_stats'].values():
        del dataset['action']['mask']
    return spec


def six_dimensions(spec):
    for dataset in spec['norm_stats'].values():
        for values in dataset['action'].values():
            del values[6:]
    return spec


VARIANTS = {
    'one tower': single_tower(variant()),
    '128 bins': variant(config__n_action_bins=128),
    'wider padding': variant(config__text_config__vocab_size=1024 + 192,
                             config__pad_to_multiple_of=192),
    'no mask': without_mask(variant()),
    'six dimensions': six_dimensions(variant()),
    'grouped queries': variant(config__text_config__num_key_value_heads=2),
}


def write_with_tokenizer(spec, folder):
    write_checkpoint(spec, folder)
    config = spec['config']
    first_action = config['text_config']['vocab_size'] - config['pad_to_multiple_of'] \
        - config['n_action_bins']
    write_tokenizer(folder, config['n_action_bins'])
    return first_action


@pytest.mark.parametrize('spec', VARIANTS.values(), ids=VARIANTS)
def test_network_tokens_and_scales_are_read_from_the_checkpoint(spec, tmp_path):
    first_action = write_with_tokenizer(spec, tmp_path)
    config = spec['config']
    statistics = spec['norm_stats']['golden_bridge']['action']
    policy = load_policy(PolicyConfig(str(tmp_path), 'golden_bridge', device='cpu'))
    chunk = policy.infer(Observation((IMAGE,), 'pick up the red block'))
    dim, bins = len(statistics['q01']), config['n_action_bins']
    assert chunk.actions.shape == (1, dim) == policy.spec.action_shape
    last_action = first_action + bins - 1
    assert all(first_action <= token <= last_action for token in chunk.token_ids)
    centers = np.linspace(-1, 1, bins)[:-1] + 1 / (bins - 1)
    expected = centers[np.clip(last_action - np.array(chunk.token_ids), 0, bins - 2)]
    np.testing.assert_allclose(chunk.normalized[0], expected, rtol=0, atol=1e-12)
    low, high = np.array(statistics['q01']), np.array(statistics['q99'])
    mask = np.array(statistics.get('mask', [True] * dim))
    scaled = np.where(mask, (expected + 1) / 2 * (high - low) + low, expected)
    np.testing.assert_allclose(chunk.actions[0], scaled, rtol=0, atol=1e-12)


def test_dataset_statistics_json_replaces_the_statistics_of_the_config(tmp_path):
    write_checkpoint(variant(), tmp_path)
    (tmp_path / 'dataset_statistics.json').write_text(
        json.dumps({'mine': {'action': {'q01': [0.0], 'q99': [1.0]}}}))
    assert list(open_checkpoint(str(tmp_path)).norm_stats) == ['mine']


def test_the_published_config_of_openvla_7b_is_completed_by_defaults(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps({
        'model_type': 'openvla', 'vision_backbone_id': 'dinosiglip-vit-so-224px',
        'llm_backbone_id': 'llama2-7b-pure', 'pad_to_multiple_of': 64, 'n_action_bins': 256,
        'text_config': {'model_type': 'llama', 'pad_token_id': 32000, 'vocab_size': 32064}}))
    config = read_config(tmp_path)
    assert config.vocab_size == 32000
    assert [tower.depth for tower in config.towers] == [24, 27]
    llama = config.language_model
    assert (llama.hidden_size, llama.num_hidden_layers, llama.intermediate_size) == \
        (4096, 32, 11008)
    assert llama.rms_norm_eps == 1e-6


@pytest.mark.parametrize('change, message', [
    ({'vision_backbone_id': 'my-vit', 'timm_model_ids': None}, 'not a published one'),
    ({'timm_model_args': {}}, 'describe it in config.json under timm_model_args'),
    ({'image_sizes': [56]}, 'needs as many'),
    ({'text_config': {'model_type': 'mistral'}}, 'only "llama"'),
    ({'text_config': {'hidden_act': 'gelu'}}, 'hidden_act'),
    ({'text_config': {'rope_scaling': {'factor': 2}}}, 'rope_scaling'),
])
def test_an_unsupported_network_is_named(tmp_path, change, message):
    write_checkpoint(variant(), tmp_path)
    config = json.loads((tmp_path / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path)


def test_an_unknown_tower_argument_is_an_error(tmp_path):
    spec = variant()
    write_checkpoint(spec, tmp_path)
    config = json.loads((tmp_path / 'config.json').read_text())
    next(iter(config['timm_model_args'].values()))['qk_norm'] = True
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match='qk_norm not supported'):
        read_config(tmp_path)


def rename_weight(tensors):
    tensors['projector.fc9.weight'] = tensors.pop('projector.fc1.weight')


def reshape_bias(tensors):
    tensors['projector.fc1.bias'] = tensors['projector.fc1.bias'][:-1].clone()


def convert_bias_to_int8(tensors):
    tensors['projector.fc1.bias'] = tensors['projector.fc1.bias'].to(torch.int8)


@pytest.mark.parametrize('change, message', [
    (rename_weight, 'lacks 1 tensors: projector.fc1.weight'),
    (reshape_bias, 'projector.fc1.bias has shape'),
    (convert_bias_to_int8, 'only floating point'),
])
def test_weights_of_another_name_shape_or_dtype_are_named(tmp_path, change, message):
    write_with_tokenizer(variant(), tmp_path)
    tensors = load_file(tmp_path / 'model.safetensors')
    change(tensors)
    save_file(tensors, tmp_path / 'model.safetensors')
    with pytest.raises(CheckpointError, match=message):
        load_policy(PolicyConfig(str(tmp_path), 'golden_bridge', device='cpu'))


def test_a_missing_shard_is_named(tmp_path):
    write_checkpoint(variant(), tmp_path, shards=3)
    write_tokenizer(tmp_path, 256)
    (tmp_path / 'model-00002-of-00003.safetensors').unlink()
    with pytest.raises(CheckpointError, match='model-00002-of-00003.safetensors is missing'):
        load_policy(PolicyConfig(str(tmp_path), 'golden_bridge', device='cpu'))


def test_preprocessing_to_another_image_size_is_refused(tmp_path):
    spec = variant()
    spec['preprocessor']['tvf_crop_params'] = [{'output_size': [70, 70]}] * 2
    write_checkpoint(spec, tmp_path)
    with pytest.raises(CheckpointError, match='config.json wants 56 pixels'):
        open_checkpoint(str(tmp_path))


def test_loading_reports_progress_and_can_be_cancelled(tmp_path):
    from vla_ros.errors import Cancelled
    write_with_tokenizer(variant(), tmp_path)
    seen = []
    load_policy(PolicyConfig(str(tmp_path), 'golden_bridge', device='cpu',
                             progress=lambda fraction, activity: seen.append(fraction)))
    assert seen == sorted(seen) and seen[0] == 0.0 and seen[-1] == 1.0 and len(seen) > 50

    def stop(fraction, activity):
        if fraction > 0.5:
            raise Cancelled('stopped')
    with pytest.raises(Cancelled):
        load_policy(PolicyConfig(str(tmp_path), 'golden_bridge', device='cpu', progress=stop))


def test_a_missing_folder_is_not_looked_up_on_the_hub():
    with pytest.raises(CheckpointError, match='no such folder'):
        open_checkpoint('./checkpoints/openvla')


def test_a_hub_id_that_is_neither_cached_nor_reachable_is_an_error(tmp_path, monkeypatch):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(CheckpointError, match='team/robot: .* not in the local cache'):
        open_checkpoint('team/robot')
