# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a checkpoint's config.json says about the network, with the defaults of its format."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import json
from pathlib import Path
from typing import Any

from vla_ros.errors import CheckpointError

# Constructor arguments of the published towers, as timm defines them under these names.
_DINOV2_LARGE: dict[str, Any] = {
    'patch_size': 14, 'embed_dim': 1024, 'depth': 24, 'num_heads': 16, 'init_values': 1e-5,
    'reg_tokens': 4, 'no_embed_class': True}
_SIGLIP_SO400M: dict[str, Any] = {
    'patch_size': 14, 'embed_dim': 1152, 'depth': 27, 'num_heads': 16, 'mlp_ratio': 3.7362,
    'class_token': False, 'global_pool': 'map'}
# OpenAI's CLIP was trained with torch's own LayerNorm epsilon.
_CLIP_LARGE: dict[str, Any] = {
    'patch_size': 14, 'embed_dim': 1024, 'depth': 24, 'num_heads': 16, 'pre_norm': True,
    'norm_eps': 1e-5}
PUBLISHED_TOWERS: dict[str, dict[str, Any]] = {
    'vit_large_patch14_reg4_dinov2': _DINOV2_LARGE,
    'vit_so400m_patch14_siglip_224': _SIGLIP_SO400M,
    'vit_so400m_patch14_siglip_384': _SIGLIP_SO400M,
    'vit_large_patch14_clip_224': _CLIP_LARGE,
    'vit_large_patch14_clip_336': _CLIP_LARGE,
    'vit_large_patch16_224': {'patch_size': 16, 'embed_dim': 1024, 'depth': 24, 'num_heads': 16},
}

# vision_backbone_id -> (timm names, image sizes, activation overrides), prismatic's table.
_DINO = 'vit_large_patch14_reg4_dinov2.lvd142m'
_CLIP_336 = 'vit_large_patch14_clip_336.openai'
VISION_BACKBONES: dict[str, tuple[list[str], list[int], list[str | None]]] = {
    'clip-vit-l': (['vit_large_patch14_clip_224.openai'], [224], ['quick_gelu']),
    'clip-vit-l-336px': ([_CLIP_336], [336], ['quick_gelu']),
    'dinov2-vit-l': ([_DINO], [224], [None]),
    'in1k-vit-l': (['vit_large_patch16_224.augreg_in21k_ft_in1k'], [224], [None]),
    'siglip-vit-so400m': (['vit_so400m_patch14_siglip_224'], [224], [None]),
    'siglip-vit-so400m-384px': (['vit_so400m_patch14_siglip_384'], [384], [None]),
    'dinoclip-vit-l-336px': ([_DINO, _CLIP_336], [336, 336], [None, 'quick_gelu']),
    'dinosiglip-vit-so-224px': ([_DINO, 'vit_so400m_patch14_siglip_224'], [224] * 2, [None] * 2),
    'dinosiglip-vit-so-384px': ([_DINO, 'vit_so400m_patch14_siglip_384'], [384] * 2, [None] * 2),
}

ACTIVATIONS = ('gelu', 'gelu_tanh', 'quick_gelu')

# Arguments of timm's VisionTransformer that do not change the features taken here: the heads
# behind the last-but-one block, and what acts in training only.
_WITHOUT_EFFECT = frozenset({
    'num_classes', 'global_pool', 'fc_norm', 'final_norm', 'img_size', 'drop_rate',
    'pos_drop_rate', 'patch_drop_rate', 'proj_drop_rate', 'attn_drop_rate', 'drop_path_rate',
    'weight_init', 'pool_include_prefix', 'dynamic_img_size', 'attn_pool_num_heads', 'fix_init'})


@dataclass(frozen=True)
class VitConfig:
    """A vision tower, in the terms of timm's VisionTransformer."""

    image_size: int
    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    init_values: float | None = None
    class_token: bool = True
    no_embed_class: bool = False
    reg_tokens: int = 0
    pre_norm: bool = False
    act_layer: str = 'gelu'
    norm_eps: float = 1e-6

    @property
    def prefix_tokens(self) -> int:
        """Tokens in front of the patches: class token and registers."""
        return int(self.class_token) + self.reg_tokens

    @property
    def patch_count(self) -> int:
        """Number of patches of one image."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class LlamaConfig:
    """
    The language model; the defaults are those of the format (transformers 4.40 LlamaConfig).

    config.json stores only what differs from them. So ``rms_norm_eps`` is 1e-6 for OpenVLA-7B,
    not Llama-2's own 1e-5.
    """

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = False
    bos_token_id: int = 1
    eos_token_id: int = 2

    @property
    def kv_heads(self) -> int:
        """Number of key and value heads."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Size of one attention head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class OpenVlaConfig:
    """
    Everything config.json says that inference needs.

    :param vocab_size: of the tokenizer: the language model's without its padding.
    :param norm_stats: statistics by dataset, as stored.
    """

    towers: tuple[VitConfig, ...]
    language_model: LlamaConfig
    llm_backbone_id: str
    n_action_bins: int
    vocab_size: int
    norm_stats: Mapping = field(repr=False)


def read_json(path: Path) -> dict:
    """
    Read one JSON object of a checkpoint folder.

    :raises CheckpointError: the file is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise CheckpointError(path.parent, f'{path.name} is missing') from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(path.parent, f'{path.name} cannot be read: {error}') from None
    if not isinstance(content, dict):
        raise CheckpointError(path.parent, f'{path.name} must hold a JSON object')
    return content


def read_config(folder: Path) -> OpenVlaConfig:
    """
    Read config.json of a checkpoint folder.

    :raises CheckpointError: it is missing, or describes a network that this runtime lacks.
    """
    raw = read_json(folder / 'config.json')
    if raw.get('model_type') != 'openvla':
        raise CheckpointError(
            folder, f'config.json says model_type {raw.get("model_type")!r}; only "openvla" '
            'checkpoints are supported')
    try:
        language_model = _read_llama(raw.get('text_config') or {})
        return OpenVlaConfig(
            towers=_read_towers(raw),
            language_model=language_model,
            llm_backbone_id=raw.get('llm_backbone_id', 'vicuna-v15-7b'),
            n_action_bins=int(raw.get('n_action_bins', 256)),
            vocab_size=language_model.vocab_size - int(raw.get('pad_to_multiple_of', 64)),
            norm_stats=raw.get('norm_stats') or {},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(folder, f'config.json: {error}') from None


def _read_llama(raw: Mapping) -> LlamaConfig:
    model_type = raw.get('model_type', 'llama')
    if model_type != 'llama':
        raise ValueError(f'text_config.model_type {model_type!r} is not supported, only "llama"')
    supported = {'hidden_act': 'silu', 'attention_bias': False, 'mlp_bias': False,
                 'rope_scaling': None}
    for name, value in supported.items():
        if raw.get(name, value) != value:
            raise ValueError(f'text_config.{name} {raw[name]!r} is not supported, only {value!r}')
    # newer transformers store the base of the rotary embedding one level down
    rope = raw.get('rope_parameters') or {}
    if rope.get('rope_type', 'default') != 'default':
        raise ValueError(f'text_config.rope_parameters {rope!r} are not supported, only "default"')
    known = {f.name for f in fields(LlamaConfig)}
    values = {name: value for name, value in raw.items() if name in known}
    return LlamaConfig(**{'rope_theta': rope.get('rope_theta', 10000.0), **values})


def _read_towers(raw: Mapping) -> tuple[VitConfig, ...]:
    backbone = raw.get('vision_backbone_id', 'siglip-vit-so400m')
    names, sizes, activations = VISION_BACKBONES.get(backbone, ([], [], []))
    names = raw.get('timm_model_ids') or names
    sizes = raw.get('image_sizes') or sizes
    if not names or not sizes:
        raise ValueError(
            f'vision_backbone_id {backbone!r} is not a published one '
            f'({", ".join(VISION_BACKBONES)}); give timm_model_ids, image_sizes and '
            'timm_model_args')
    activations = raw.get('timm_override_act_layers') or activations or [None] * len(names)
    fused = raw.get('use_fused_vision_backbone')
    if fused is None:
        fused = backbone.startswith(('dinoclip', 'dinosiglip'))
    count = 2 if fused else 1
    if min(len(names), len(sizes), len(activations)) < count:
        raise ValueError(f'a vision backbone of {count} towers needs as many timm_model_ids, '
                         'image_sizes and timm_override_act_layers')
    described = raw.get('timm_model_args') or {}
    return tuple(_read_tower(name, int(size), activation, described)
                 for name, size, activation in list(zip(names, sizes, activations))[:count])


def _read_tower(name: str, image_size: int, activation: str | None,
                described: Mapping[str, Mapping]) -> VitConfig:
    args = described.get(name) or PUBLISHED_TOWERS.get(name.split('.')[0])
    if args is None:
        raise ValueError(
            f'vision tower {name!r} is not a published one ({", ".join(PUBLISHED_TOWERS)}); '
            'describe it in config.json under timm_model_args (timm VisionTransformer arguments)')
    known = {f.name for f in fields(VitConfig)} - {'image_size'}
    unknown = sorted(set(args) - known - _WITHOUT_EFFECT)
    if unknown:
        raise ValueError(f'timm_model_args of {name!r}: {", ".join(unknown)} not supported; '
                         f'known are {", ".join(sorted(known))}')
    values = {key: value for key, value in args.items() if key in known and value is not None}
    if activation is not None:
        values['act_layer'] = activation
    config = VitConfig(image_size=image_size, **values)
    if config.act_layer not in ACTIVATIONS:
        raise ValueError(f'activation {config.act_layer!r} of {name!r} is not one of '
                         f'{", ".join(ACTIVATIONS)}')
    return config
