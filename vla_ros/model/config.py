# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a checkpoint's config.json says about the network, with the defaults of its format."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from pathlib import Path
import reprlib
from typing import Any

from vla_ros.errors import CheckpointError
from vla_ros.model.values import check_integer
from vla_ros.model.values import ConfigValueError
from vla_ros.model.values import flag
from vla_ros.model.values import integer
from vla_ros.model.values import mapping
from vla_ros.model.values import number
from vla_ros.model.values import strings
from vla_ros.model.values import text
from vla_ros.util.files import FileError
from vla_ros.util.files import read_json_object

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
        return read_json_object(path)
    except FileError as error:
        raise CheckpointError(path.parent, f'{path.name} {error.problem}') from None


def read_config(folder: Path) -> OpenVlaConfig:
    """
    Read config.json of a checkpoint folder.

    :raises CheckpointError: it is missing, or describes a network that this runtime lacks.
    """
    raw = read_json(folder / 'config.json')
    _check_layout(folder, raw)
    if raw.get('model_type') != 'openvla':
        raise CheckpointError(
            folder, f'config.json says model_type {reprlib.repr(raw.get("model_type"))}; only '
            '"openvla" checkpoints are supported')
    try:
        language_model = _read_llama(mapping(raw, 'text_config'))
        bins = integer(raw, 'n_action_bins', 256, 2, 2**16)
        padding = integer(raw, 'pad_to_multiple_of', 64, 0, 2**16)
        if language_model.vocab_size - padding < bins:
            raise ValueError(
                f'text_config.vocab_size {language_model.vocab_size} less pad_to_multiple_of '
                f'{padding} leaves no room for n_action_bins {bins}')
        return OpenVlaConfig(
            towers=_read_towers(raw),
            language_model=language_model,
            llm_backbone_id=text(raw, 'llm_backbone_id', 'vicuna-v15-7b'),
            n_action_bins=bins,
            vocab_size=language_model.vocab_size - padding,
            norm_stats=mapping(raw, 'norm_stats'),
        )
    except ValueError as error:
        raise CheckpointError(folder, f'config.json: {error}') from None


def _check_layout(folder: Path, raw: Mapping[str, Any]) -> None:
    """Name the folder of a training run of the official code, whose files have the same names."""
    runs = sorted((folder / 'checkpoints').glob('*.pt'))
    has_settings = any(isinstance(raw.get(name), dict) for name in ('vla', 'model'))
    if 'model_type' not in raw and (runs or has_settings):
        raise CheckpointError(
            folder, "a training run in prismatic's own format"
            f'{f" (checkpoints/{runs[-1].name})" if runs else ""}; convert it with the official '
            'code: link the file of the wanted step as checkpoints/latest-checkpoint.pt, run '
            'python vla-scripts/extern/convert_openvla_weights_to_hf.py '
            f'--openvla_model_path_or_id {folder} --output_hf_model_local_path FOLDER, and load '
            'FOLDER')


def _read_llama(raw: Mapping[str, Any]) -> LlamaConfig:
    prefix = 'text_config.'
    model_type = raw.get('model_type', 'llama')
    if model_type != 'llama':
        raise ValueError(f'text_config.model_type {reprlib.repr(model_type)} is not supported, '
                         'only "llama"')
    supported = {'hidden_act': 'silu', 'attention_bias': False, 'mlp_bias': False,
                 'rope_scaling': None}
    for name, value in supported.items():
        if raw.get(name, value) != value:
            raise ValueError(f'text_config.{name} {reprlib.repr(raw[name])} is not supported, '
                             f'only {value!r}')
    # newer transformers store the base of the rotary embedding one level down
    rope = mapping(raw, 'rope_parameters', prefix)
    if rope.get('rope_type', 'default') != 'default':
        raise ValueError(f'text_config.rope_parameters {reprlib.repr(rope)} are not supported, '
                         'only "default"')
    theta = number(rope, 'rope_theta', 10000.0, 1.0, 1e12, f'{prefix}rope_parameters.')

    def count(name: str, default: int | None, least: int, most: int) -> Any:
        return integer(raw, name, default, least, most, prefix)

    config = LlamaConfig(
        vocab_size=count('vocab_size', 32000, 2, 2**22),
        hidden_size=count('hidden_size', 4096, 1, 2**17),
        intermediate_size=count('intermediate_size', 11008, 1, 2**19),
        num_hidden_layers=count('num_hidden_layers', 32, 1, 512),
        num_attention_heads=count('num_attention_heads', 32, 1, 2**12),
        num_key_value_heads=count('num_key_value_heads', None, 1, 2**12),
        head_dim=count('head_dim', None, 2, 2**12),
        max_position_embeddings=count('max_position_embeddings', 2048, 1, 2**24),
        rms_norm_eps=number(raw, 'rms_norm_eps', 1e-6, 0.0, 0.1, prefix),
        rope_theta=number(raw, 'rope_theta', theta, 1.0, 1e12, prefix),
        tie_word_embeddings=flag(raw, 'tie_word_embeddings', False, prefix),
        bos_token_id=count('bos_token_id', 1, 0, 2**22),
        eos_token_id=count('eos_token_id', 2, 0, 2**22))
    _check_heads(config, raw)
    return config


def _check_heads(config: LlamaConfig, raw: Mapping[str, Any]) -> None:
    """Check what several numbers of the language model say together."""
    heads = config.num_attention_heads
    if config.head_dim is None and config.hidden_size % heads:
        raise ValueError(f'text_config: hidden_size {config.hidden_size} is no multiple of '
                         f'num_attention_heads {heads}')
    if config.head_size % 2:
        raise ValueError(f'text_config: the heads have a size of {config.head_size}, which must '
                         'be even')
    if heads % config.kv_heads:
        raise ValueError(f'text_config: num_attention_heads {heads} is no multiple of '
                         f'num_key_value_heads {config.kv_heads}')
    for name in ('bos_token_id', 'eos_token_id'):
        if raw.get(name) is not None:
            check_integer(getattr(config, name), f'text_config.{name}', 0, config.vocab_size - 1)


def _read_towers(raw: Mapping[str, Any]) -> tuple[VitConfig, ...]:
    backbone = text(raw, 'vision_backbone_id', 'siglip-vit-so400m')
    published = VISION_BACKBONES.get(backbone, ([], [], []))
    names = strings(raw, 'timm_model_ids', published[0])
    sizes = raw.get('image_sizes') or published[1]
    if not names or not sizes:
        raise ValueError(
            f'vision_backbone_id {backbone!r} is not a published one '
            f'({", ".join(VISION_BACKBONES)}); give timm_model_ids, image_sizes and '
            'timm_model_args')
    if not isinstance(sizes, list):
        raise ConfigValueError('image_sizes', sizes, 'a list of whole numbers')
    activations = strings(raw, 'timm_override_act_layers', published[2] or [None] * len(names))
    fused = flag(raw, 'use_fused_vision_backbone',
                 backbone.startswith(('dinoclip', 'dinosiglip')))
    count = 2 if fused else 1
    if min(len(names), len(sizes), len(activations)) < count:
        raise ValueError(f'a vision backbone of {count} towers needs as many timm_model_ids, '
                         'image_sizes and timm_override_act_layers')
    described = mapping(raw, 'timm_model_args')
    return tuple(_read_tower(name, check_integer(size, 'image_sizes', 1, 2**13), activation,
                             described)
                 for name, size, activation in list(zip(names, sizes, activations))[:count])


def _read_tower(name: str | None, image_size: int, activation: str | None,
                described: Mapping[str, Any]) -> VitConfig:
    if name is None:
        raise ConfigValueError('timm_model_ids', [name], 'a list of strings')
    prefix = f'timm_model_args of {name!r}: '
    args = mapping(described, name, 'timm_model_args.') or \
        PUBLISHED_TOWERS.get(name.split('.')[0])
    if args is None:
        raise ValueError(
            f'vision tower {name!r} is not a published one ({", ".join(PUBLISHED_TOWERS)}); '
            'describe it in config.json under timm_model_args (timm VisionTransformer arguments)')
    known = {f.name for f in fields(VitConfig)} - {'image_size'}
    unknown = sorted(set(args) - known - _WITHOUT_EFFECT)
    if unknown:
        raise ValueError(f'{prefix}{", ".join(unknown)} not supported; '
                         f'known are {", ".join(sorted(known))}')
    config = VitConfig(
        image_size=image_size,
        patch_size=integer(args, 'patch_size', 16, 1, 2**10, prefix),
        embed_dim=integer(args, 'embed_dim', 768, 1, 2**15, prefix),
        # The last block is never run: there must be one before it.
        depth=integer(args, 'depth', 12, 2, 512, prefix),
        num_heads=integer(args, 'num_heads', 12, 1, 2**10, prefix),
        mlp_ratio=number(args, 'mlp_ratio', 4.0, 1e-3, 1e3, prefix),
        qkv_bias=flag(args, 'qkv_bias', True, prefix),
        init_values=number(args, 'init_values', None, -1e6, 1e6, prefix),
        class_token=flag(args, 'class_token', True, prefix),
        no_embed_class=flag(args, 'no_embed_class', False, prefix),
        reg_tokens=integer(args, 'reg_tokens', 0, 0, 2**10, prefix),
        pre_norm=flag(args, 'pre_norm', False, prefix),
        act_layer=activation if activation is not None else text(args, 'act_layer', 'gelu',
                                                                 prefix),
        norm_eps=number(args, 'norm_eps', 1e-6, 0.0, 0.1, prefix))
    _check_tower(config, name)
    return config


def _check_tower(config: VitConfig, name: str) -> None:
    """Check what several numbers of a tower say together."""
    if config.act_layer not in ACTIVATIONS:
        raise ValueError(f'activation {config.act_layer!r} of {name!r} is not one of '
                         f'{", ".join(ACTIVATIONS)}')
    if config.embed_dim % config.num_heads:
        raise ValueError(f'timm_model_args of {name!r}: embed_dim {config.embed_dim} is no '
                         f'multiple of num_heads {config.num_heads}')
    if config.image_size < config.patch_size:
        raise ValueError(f'image_sizes: {config.image_size} pixels are less than one patch of '
                         f'{name!r}, {config.patch_size}')
