# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Policies of a published shape with random weights, made on the device: nothing to download."""

from collections.abc import Mapping
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from vla_ros.data.actions import ActionStatistics
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.model.lora import apply_adapters
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.openvla import OpenVlaPolicy
from vla_ros.model.out_of_memory import explain_memory
from vla_ros.model.prepare import choose_machine
from vla_ros.model.prepare import find_statistics
from vla_ros.model.prepare import LoadedCheckpoint
from vla_ros.model.quantize import quantize
from vla_ros.model.tokenizer import PromptTokenizer
from vla_ros.model.weights import build_network
from vla_ros.policy.config import PolicyConfig
from vla_ros.util.demo_checkpoint import DATASET
from vla_ros.util.demo_checkpoint import demo_spec
from vla_ros.util.tiny_tokenizer import write_tokenizer

_TINY_TOWERS = {
    'vit_tiny_patch14_reg4_dinov2': {
        'patch_size': 14, 'embed_dim': 48, 'depth': 4, 'num_heads': 4, 'init_values': 1e-5,
        'reg_tokens': 4, 'no_embed_class': True},
    'vit_tiny_patch14_siglip': {
        'patch_size': 14, 'embed_dim': 64, 'depth': 5, 'num_heads': 4, 'mlp_ratio': 3.7362,
        'class_token': False},
}

#: What differs from the demo's config.json; everything else is the default of the format. The
#: tiny one is like the real one busy decoding most of the time, which the demo's, with its large
#: images, is not; and like there, scoring the vocabulary is a small part of a step. The small one
#: has 250 million weights, more than the caches of a CPU hold.
SHAPES: dict[str, Mapping[str, Any]] = {
    'tiny': {
        'text_config': {
            'model_type': 'llama', 'pad_token_id': 2000, 'vocab_size': 2064, 'hidden_size': 96,
            'intermediate_size': 256, 'num_hidden_layers': 3, 'num_attention_heads': 4},
        'timm_model_ids': list(_TINY_TOWERS), 'timm_model_args': _TINY_TOWERS,
        'image_sizes': [56, 56]},
    'small': {
        'text_config': {
            'model_type': 'llama', 'pad_token_id': 32000, 'vocab_size': 32064,
            'hidden_size': 1024, 'intermediate_size': 2816, 'num_hidden_layers': 14,
            'num_attention_heads': 16},
        'timm_model_ids': list(_TINY_TOWERS), 'timm_model_args': _TINY_TOWERS,
        'image_sizes': [56, 56]},
    'openvla-7b': {
        'text_config': {'model_type': 'llama', 'pad_token_id': 32000, 'vocab_size': 32064},
        'timm_model_ids': None, 'timm_model_args': None, 'image_sizes': None,
        'timm_override_act_layers': None, 'vision_backbone_id': 'dinosiglip-vit-so-224px'},
}


def random_policy(shape: str, config: PolicyConfig) -> OpenVlaPolicy:
    """
    Make a policy whose actions mean nothing, of the size and speed of a real one.

    :param shape: one of :data:`SHAPES`.
    :param config: how to run it; what it says of a checkpoint does not matter.
    """
    with TemporaryDirectory() as folder:
        _write_folder(Path(folder), SHAPES[shape])
        checkpoint = open_checkpoint(folder)
        machine = choose_machine(config)
        dataset = find_statistics(config, checkpoint)
        tokenizer = PromptTokenizer(checkpoint.folder,
                                    checkpoint.config.language_model.bos_token_id)
    with explain_memory(checkpoint.config, machine.device, machine.dtype):
        network = build_network(
            lambda: OpenVlaNetwork(checkpoint.config, machine.attention.attend),
            machine.device, machine.dtype)
        _fill(network)
        quantize(network, config.quantization, machine.device)
        loaded = LoadedCheckpoint(checkpoint, machine, dataset, network, tokenizer,
                                  apply_adapters(network, {}, None))
        statistics = ActionStatistics.from_dataset(dataset.statistics)
        policy = OpenVlaPolicy(loaded.spec(config, (1, statistics.dim)), loaded, statistics,
                               config)
        policy.warm_up()
    return policy


def _fill(network: OpenVlaNetwork) -> None:
    """Draw weights that keep the numbers of every layer in a usual range."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        mean, std = (1.0, 0.0) if 'norm' in name and name.endswith('weight') else (0.0, 0.02)
        parameter.normal_(mean, std)


def _write_folder(folder: Path, shape: Mapping[str, Any]) -> None:
    spec = demo_spec()
    config = {**spec['config'], 'norm_stats': {DATASET: spec['norm_stats'][DATASET]},
              'timm_model_args': spec['tiny_timm'], **shape}
    side = (config['image_sizes'] or spec['config']['image_sizes'])[0]
    processor = {key: value for key, value in spec['preprocessor'].items()
                 if key not in ('tvf_resize_params', 'tvf_crop_params')}
    processor['input_sizes'] = [(3, side, side)] * 2
    for name, content in (('config.json', config), ('preprocessor_config.json', processor)):
        (folder / name).write_text(json.dumps(content), encoding='utf-8')
    write_tokenizer(folder, config['n_action_bins'])
