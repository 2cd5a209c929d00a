# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The small model: its shape, its statistics, and its folder in the official layout."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
import torch

from vla_ros.data.preprocess import ImageProcessor
from vla_ros.data.preprocess import TowerTransform
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.weights import targets
from vla_ros.util.tiny_tokenizer import text_pieces
from vla_ros.util.tiny_tokenizer import write_tokenizer

#: Name of the statistics, what ``unnorm_key`` selects.
DATASET = 'vla_ros_tabletop'
IMAGE_SIZE = 112
ACTION_BINS = 256
_PAD_TO = 64
_TOWERS = {
    'tabletop_first': {'patch_size': 14, 'embed_dim': 64, 'depth': 3, 'num_heads': 4,
                       'class_token': False, 'global_pool': 'avg'},
    'tabletop_second': {'patch_size': 14, 'embed_dim': 32, 'depth': 2, 'num_heads': 4,
                        'class_token': False, 'global_pool': 'avg'},
}
_MEANS, _STDS = ([0.5] * 3, [0.4] * 3), ([0.5] * 3, [0.5] * 3)

# The bounds of the expert's joint targets with a margin, rad and m. The format calls them
# percentiles; bounds keep the outermost blocks from being clipped.
_LOW = (-0.72, 0.10, -1.10, -0.1, -0.50, -0.1, 0.0)
_HIGH = (0.72, 1.50, 1.20, 0.1, 1.20, 0.1, 0.04)


def model_config(texts: Sequence[str] = (), positions: int = 256) -> dict[str, Any]:
    """
    Make config.json.

    :param texts: instructions whose words are tokens.
    :param positions: longest sequence.
    """
    tokenizer_size = len(text_pieces(texts)) + ACTION_BINS
    return {
        'architectures': ['OpenVLAForActionPrediction'],
        'model_type': 'openvla',
        'image_resize_strategy': 'resize-naive',
        'image_sizes': [IMAGE_SIZE] * 2,
        'llm_backbone_id': 'llama2-7b-pure',
        'n_action_bins': ACTION_BINS,
        'norm_stats': statistics(),
        'pad_to_multiple_of': _PAD_TO,
        'pad_token_id': tokenizer_size,
        'text_config': {
            'model_type': 'llama', 'hidden_size': 96, 'intermediate_size': 192,
            'num_hidden_layers': 3, 'num_attention_heads': 4, 'num_key_value_heads': 4,
            'max_position_embeddings': positions, 'vocab_size': tokenizer_size + _PAD_TO,
            'torch_dtype': 'bfloat16'},
        'timm_model_args': _TOWERS,
        'timm_model_ids': list(_TOWERS),
        'timm_override_act_layers': [None, None],
        'torch_dtype': 'bfloat16',
        'use_fused_vision_backbone': True,
        'vision_backbone_id': 'dinosiglip-vit-so-224px',
    }


def preprocessor_config() -> dict[str, Any]:
    """Make preprocessor_config.json."""
    size = [IMAGE_SIZE, IMAGE_SIZE]
    return {
        'image_processor_type': 'PrismaticImageProcessor',
        'image_resize_strategy': 'resize-naive',
        'input_sizes': [[3, *size]] * 2,
        'interpolations': ['bicubic'] * 2,
        'means': list(_MEANS), 'stds': list(_STDS),
        'processor_class': 'PrismaticProcessor',
        'tvf_crop_params': [{'output_size': size}] * 2,
        'tvf_do_letterbox': False,
        'tvf_letterbox_fill': None,
        'tvf_normalize_params': [{'inplace': False, 'mean': mean, 'std': std}
                                 for mean, std in zip(_MEANS, _STDS)],
        'tvf_resize_params': [{'antialias': True, 'interpolation': 3, 'max_size': None,
                               'size': size}] * 2,
        'use_fused_vision_backbone': True,
    }


def small_transform() -> TowerTransform:
    """Make the image transform of the small model."""
    return ImageProcessor.from_config(preprocessor_config()).towers[0]


def statistics(count: int = 0) -> dict[str, Any]:
    """Make dataset_statistics.json; ``count`` samples were seen."""
    middle = [(low + high) / 2 for low, high in zip(_LOW, _HIGH)]
    spread = [(high - low) / 4 for low, high in zip(_LOW, _HIGH)]
    return {DATASET: {
        'action': {'q01': list(_LOW), 'q99': list(_HIGH), 'min': list(_LOW), 'max': list(_HIGH),
                   'mean': middle, 'std': spread, 'mask': [True] * 7},
        'num_trajectories': 0, 'num_transitions': count}}


def write_folder(folder: Path, stats: Mapping[str, Any] | None = None,
                 texts: Sequence[str] = (), positions: int = 256) -> None:
    """
    Write everything but the weights.

    :param stats: what dataset_statistics.json says; None: those of the simulator's samples.
    :param texts: instructions whose words are tokens.
    :param positions: longest sequence of the language model.
    """
    stats = stats or statistics()
    folder.mkdir(parents=True, exist_ok=True)
    config = model_config(texts, positions)
    write_tokenizer(folder, ACTION_BINS, texts)
    _write(folder / 'config.json', {**config, 'norm_stats': stats})
    _write(folder / 'preprocessor_config.json', preprocessor_config())
    _write(folder / 'dataset_statistics.json', stats)
    _write(folder / 'generation_config.json',
           {'_from_model_config': True, 'bos_token_id': 1, 'eos_token_id': 2,
            'pad_token_id': config['pad_token_id']})


def write_weights(network: OpenVlaNetwork, folder: Path) -> None:
    """Write the weights in bfloat16 under the official keys."""
    tensors = {key: target.view().detach().to(torch.bfloat16).contiguous()
               for key, target in targets(network).items()}
    save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + '\n', encoding='utf-8')
