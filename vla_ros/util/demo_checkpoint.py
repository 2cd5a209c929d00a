# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The demo's checkpoint: the whole of an OpenVLA model, small enough for any machine.

Two fused vision towers at 224 pixels, a projector, a Llama with a word for each action bin. Its
weights are made up, so its actions mean nothing; but they depend on the image and the instruction,
and everything that surrounds them is the real thing.
"""

import hashlib
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

from vla_ros.util.tiny_checkpoint import write_checkpoint
from vla_ros.util.tiny_tokenizer import text_pieces
from vla_ros.util.tiny_tokenizer import write_tokenizer

#: The dataset whose statistics scale the demo's actions.
DATASET = 'demo'

_ACTION_BINS = 256
_PADDING = 64
_SIDE = 224
_TOWERS = {
    'vit_demo_patch14_reg4_dinov2': {
        'patch_size': 14, 'embed_dim': 64, 'depth': 4, 'num_heads': 4, 'init_values': 1e-05,
        'reg_tokens': 4, 'no_embed_class': True},
    'vit_demo_patch14_siglip': {
        'patch_size': 14, 'embed_dim': 64, 'depth': 4, 'num_heads': 4, 'mlp_ratio': 3.7362,
        'class_token': False, 'global_pool': 'map'},
}


def cache_folder() -> Path:
    """Return where this project keeps what it can make again."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'vla_ros'


def checkpoint_folder() -> Path:
    """Return where the demo's checkpoint is, or will be; another one has another name."""
    content = json.dumps([demo_spec(), text_pieces()], sort_keys=True)
    digest = hashlib.sha256(content.encode('utf-8')).hexdigest()
    return cache_folder() / f'demo-checkpoint-{digest[:12]}'


def ensure_checkpoint(folder: Path) -> Path:
    """Write the checkpoint unless it is there; safe among processes that do the same."""
    if (folder / 'config.json').is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Built under another name and renamed: no process opens an incomplete checkpoint.
    built = Path(tempfile.mkdtemp(prefix=f'{folder.name}-', dir=folder.parent))
    try:
        write_tokenizer(built, _ACTION_BINS)
        write_checkpoint(demo_spec(), built)
        built.rename(folder)
    except OSError:
        if not (folder / 'config.json').is_file():
            raise
    finally:
        shutil.rmtree(built, ignore_errors=True)
    return folder


def demo_spec() -> dict[str, Any]:
    """Return the spec from which :mod:`vla_ros.util.tiny_checkpoint` makes the weights."""
    text_end = len(text_pieces())
    vocabulary = text_end + _ACTION_BINS
    return {
        'seed': 'vla_ros demo 1',
        'config': _config(vocabulary),
        'preprocessor': _preprocessor(),
        'norm_stats': {DATASET: _statistics()},
        'tiny_timm': _TOWERS,
        # Text tokens have low logits: greedy decoding gives action tokens only.
        'gain': {'layer_scale': 0.7, 'tokens': 0.6, 'embed': 1.0, 'lm_head': 2.5,
                 'action_rows': 2.0, 'other_rows': 0.01,
                 'linear': [('patch_embed', 1.5), ('attn.qkv', 1.6), ('attn.proj', 1.2),
                            ('mlp', 1.2), ('projector.fc3', 0.5), ('projector', 1.3),
                            ('q_proj', 1.8), ('k_proj', 1.8), ('v_proj', 1.4), ('o_proj', 1.4)]},
    }


def _config(vocabulary: int) -> dict[str, Any]:
    return {
        'arch_specifier': 'no-align+fused-gelu-mlp',
        'architectures': ['OpenVLAForActionPrediction'],
        'hf_llm_id': 'meta-llama/Llama-2-7b-hf',
        'image_resize_strategy': 'resize-naive',
        'image_sizes': [_SIDE, _SIDE],
        'llm_backbone_id': 'llama2-7b-pure',
        'llm_max_length': 2048,
        'model_type': 'openvla',
        'n_action_bins': _ACTION_BINS,
        'output_projector_states': False,
        'pad_to_multiple_of': _PADDING,
        'pad_token_id': vocabulary,
        'text_config': {
            'model_type': 'llama', 'pad_token_id': vocabulary,
            'vocab_size': vocabulary + _PADDING, 'hidden_size': 128, 'intermediate_size': 256,
            'num_hidden_layers': 3, 'num_attention_heads': 4, 'num_key_value_heads': 4},
        'timm_model_ids': list(_TOWERS),
        'timm_override_act_layers': [None, None],
        'transformers_version': '4.40.1',
        'use_fused_vision_backbone': True,
        'vision_backbone_id': 'dinosiglip-vit-so-224px',
    }


def _preprocessor() -> dict[str, Any]:
    """Return what the published fused checkpoints have, rounded to bfloat16 as theirs is."""
    imagenet_mean, imagenet_std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    half = [0.5, 0.5, 0.5]
    return {
        'image_processor_type': 'PrismaticImageProcessor',
        'image_resize_strategy': 'resize-naive',
        'input_sizes': [[3, _SIDE, _SIDE]] * 2,
        'interpolations': ['bicubic', 'bicubic'],
        'means': [imagenet_mean, half],
        'stds': [imagenet_std, half],
        'tvf_crop_params': [{'output_size': [_SIDE, _SIDE]}] * 2,
        'tvf_do_letterbox': False,
        'tvf_letterbox_fill': None,
        'tvf_normalize_params': [
            {'inplace': False, 'mean': [0.484375, 0.455078125, 0.40625],
             'std': [0.228515625, 0.2236328125, 0.224609375]},
            {'inplace': False, 'mean': half, 'std': half}],
        'tvf_resize_params': [{'antialias': True, 'interpolation': 3, 'max_size': None,
                               'size': [_SIDE, _SIDE]}] * 2,
        'use_fused_vision_backbone': True,
    }


def _statistics() -> dict[str, Any]:
    """Return a range of a few centimetres and degrees per step; the gripper is not scaled."""
    reach = [0.02, 0.02, 0.02, 0.05, 0.05, 0.05, 1.0]
    low = [-value for value in reach[:-1]] + [0.0]
    zero, half = [0.0] * len(reach), [value / 2 for value in reach]
    return {
        'action': {'mean': zero, 'std': half, 'min': low, 'max': reach, 'q01': low, 'q99': reach,
                   'mask': [True] * 6 + [False]},
        'num_transitions': 0,
        'num_trajectories': 0,
    }
