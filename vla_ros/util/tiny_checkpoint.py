# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Checkpoint folders of the OpenVLA class with made-up weights: any size, the same bytes everywhere.

The demo and the tests need models of the real class that no one has to download. A spec is a
plain dictionary of the parts of a published folder; the weights are raw PCG64 words, whose stream
numpy promises never to change, seeded from sha256 of ``seed|tensor name``. All values are
bfloat16-representable, so float32 and bfloat16 storage hold equal numbers. Weights are made and
written a block at a time: a checkpoint of many gigabytes needs a few dozen megabytes of memory.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import hashlib
import json
import math
from pathlib import Path
import shutil
import struct
from typing import Any
from typing import BinaryIO

import numpy as np

from vla_ros.errors import ParameterError

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

#: What a tokenizer folder may hold that belongs in a checkpoint.
TOKENIZER_FILES = ('tokenizer.json', 'tokenizer.model', 'tokenizer_config.json',
                   'special_tokens_map.json', 'added_tokens.json')

# The format's own names, and bytes per value.
_STORAGE = {'float32': ('F32', 4), 'bfloat16': ('BF16', 2)}
_BLOCK = 1 << 20
_LM_HEAD = 'language_model.lm_head.weight'


def write_checkpoint(spec: Mapping[str, Any], folder: str | Path, dtype: str = 'float32',
                     shards: int = 1, tokenizer: str | Path | None = None,
                     oft: bool = False) -> str:
    """
    Write a checkpoint folder in the official layout.

    :param spec: ``seed``, ``config``, ``preprocessor``, ``norm_stats``, ``tiny_timm`` and
        ``gain``; with ``oft`` also ``oft``.
    :param dtype: storage, ``float32`` or ``bfloat16``; the values are the same.
    :param shards: number of weight files; more than one adds the index file.
    :param tokenizer: folder whose tokenizer files are copied into the checkpoint.
    :param oft: write the side files of OpenVLA-OFT too, as ``.pt`` where torch is installed.
    :returns: the sha256 of the weights, independent of ``dtype`` and ``shards``.
    :raises ParameterError: an unknown ``dtype`` or fewer than one shard.
    """
    if dtype not in _STORAGE:
        raise ParameterError('dtype', dtype, f'one of {", ".join(_STORAGE)}')
    if shards < 1:
        raise ParameterError('shards', shards, 'at least 1')
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_configuration(spec, folder, dtype)
    digest = _write_weights(spec, folder, dtype, shards)
    if tokenizer is not None:
        _copy_tokenizer(Path(tokenizer), folder)
    if oft:
        _write_oft_parts(spec, folder)
    return digest


def model_shapes(spec: Mapping[str, Any]) -> Shapes:
    """Shape of every tensor of the checkpoint, by state-dict key."""
    config = spec['config']
    text = config['text_config']
    hidden = text['hidden_size']
    towers = [spec['tiny_timm'][name] for name in config['timm_model_ids']]
    sizes = config['image_sizes']
    fused = config['use_fused_vision_backbone']

    shapes = _tower_shapes('vision_backbone.featurizer.', towers[0], sizes[0])
    vision = towers[0]['embed_dim']
    if fused:
        shapes |= _tower_shapes('vision_backbone.fused_featurizer.', towers[1], sizes[1])
        vision += towers[1]['embed_dim']
    widths = (vision, 4 * vision, hidden, hidden) if fused else (vision, hidden, hidden)
    for i in range(1, len(widths)):
        shapes |= _linear(f'projector.fc{i}', widths[i], widths[i - 1])
    return shapes | _language_shapes(text)


def _language_shapes(text: Mapping[str, Any]) -> Shapes:
    """Llama with untied embeddings and no biases."""
    hidden, inner, heads = (text['hidden_size'], text['intermediate_size'],
                            text['num_attention_heads'])
    kv = text.get('num_key_value_heads', heads) * (hidden // heads)
    shapes: Shapes = {
        'language_model.model.embed_tokens.weight': (text['vocab_size'], hidden),
        'language_model.model.norm.weight': (hidden,),
        _LM_HEAD: (text['vocab_size'], hidden)}
    for i in range(text['num_hidden_layers']):
        layer = f'language_model.model.layers.{i}'
        shapes |= {
            f'{layer}.self_attn.q_proj.weight': (hidden, hidden),
            f'{layer}.self_attn.k_proj.weight': (kv, hidden),
            f'{layer}.self_attn.v_proj.weight': (kv, hidden),
            f'{layer}.self_attn.o_proj.weight': (hidden, hidden),
            f'{layer}.mlp.gate_proj.weight': (inner, hidden),
            f'{layer}.mlp.up_proj.weight': (inner, hidden),
            f'{layer}.mlp.down_proj.weight': (hidden, inner),
            f'{layer}.input_layernorm.weight': (hidden,),
            f'{layer}.post_attention_layernorm.weight': (hidden,)}
    return shapes


def _tower_shapes(prefix: str, tower: Mapping[str, Any], image_size: int) -> Shapes:
    """One timm VisionTransformer without head; LayerScale's parameter is ``scale_factor``."""
    dim, patch = tower['embed_dim'], tower['patch_size']
    inner = int(dim * tower.get('mlp_ratio', 4.0))
    registers = tower.get('reg_tokens', 0)
    has_class_token = tower.get('class_token', True)
    positions = (image_size // patch) ** 2
    if not tower.get('no_embed_class', False):
        positions += int(has_class_token) + registers

    shapes: Shapes = {'pos_embed': (1, positions, dim),
                      'patch_embed.proj.weight': (dim, 3, patch, patch),
                      'patch_embed.proj.bias': (dim,)}
    if has_class_token:
        shapes['cls_token'] = (1, 1, dim)
    if registers:
        shapes['reg_token'] = (1, registers, dim)
    for i in range(tower['depth']):
        block = f'blocks.{i}'
        shapes |= _norm(f'{block}.norm1', dim) | _norm(f'{block}.norm2', dim)
        shapes |= _linear(f'{block}.attn.qkv', 3 * dim, dim)
        shapes |= _linear(f'{block}.attn.proj', dim, dim)
        shapes |= _mlp(f'{block}.mlp', dim, inner)
        if tower.get('init_values') is not None:
            shapes[f'{block}.ls1.scale_factor'] = (dim,)
            shapes[f'{block}.ls2.scale_factor'] = (dim,)
    shapes |= _norm('norm', dim)
    if tower.get('global_pool', 'token') == 'map':
        shapes['attn_pool.latent'] = (1, 1, dim)
        shapes |= _linear('attn_pool.q', dim, dim) | _linear('attn_pool.kv', 2 * dim, dim)
        shapes |= _linear('attn_pool.proj', dim, dim) | _norm('attn_pool.norm', dim)
        shapes |= _mlp('attn_pool.mlp', dim, inner)
    return {prefix + key: shape for key, shape in shapes.items()}


def _oft_shapes(spec: Mapping[str, Any]) -> dict[str, Shapes]:
    """Side files of OpenVLA-OFT: the L1 regression head and the proprioception projector."""
    hidden = spec['config']['text_config']['hidden_size']
    action_dim = spec['oft']['action_dim']
    head = _norm('model.layer_norm1', action_dim * hidden) | _norm('model.layer_norm2', hidden)
    head |= _linear('model.fc1', hidden, action_dim * hidden)
    head |= _linear('model.fc2', action_dim, hidden)
    for i in range(2):
        block = f'model.mlp_resnet_blocks.{i}.ffn'
        head |= _norm(f'{block}.0', hidden) | _linear(f'{block}.1', hidden, hidden)
    projector = _linear('fc1', hidden, spec['oft']['proprio_dim'])
    projector |= _linear('fc2', hidden, hidden)
    return {'action_head': head, 'proprio_projector': projector}


def _linear(name: str, out_dim: int, in_dim: int) -> Shapes:
    return {f'{name}.weight': (out_dim, in_dim), f'{name}.bias': (out_dim,)}


def _norm(name: str, dim: int) -> Shapes:
    return {f'{name}.weight': (dim,), f'{name}.bias': (dim,)}


def _mlp(name: str, dim: int, inner: int) -> Shapes:
    return _linear(f'{name}.fc1', inner, dim) | _linear(f'{name}.fc2', dim, inner)


def words(tag: str) -> np.random.PCG64:
    """Bit generator whose ``random_raw`` is a pure function of ``tag``, for ever."""
    seed = int.from_bytes(hashlib.sha256(tag.encode('utf-8')).digest()[:8], 'little')
    return np.random.PCG64(seed)


def _to_bfloat16_grid(values: np.ndarray) -> np.ndarray:
    """Round float32 values to the nearest bfloat16 value, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def _value_blocks(seed: str, key: str, shape: Shape,
                  gain: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """Values of one tensor in C order, as float32 pieces of at most ``_BLOCK``."""
    mean, std = _mean_and_std(key, shape, gain)
    source, left = words(f'{seed}|{key}'), math.prod(shape)
    while left:
        count = min(left, _BLOCK)
        uniform = (source.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53
        spread = mean + std * math.sqrt(12.0) * (uniform - 0.5)
        yield _to_bfloat16_grid(spread.astype(np.float32))
        left -= count


def _weight_blocks(spec: Mapping[str, Any], key: str, shape: Shape) -> Iterator[np.ndarray]:
    """Yield the values of one model tensor, the output rows of action tokens made louder."""
    blocks = _value_blocks(spec['seed'], key, shape, spec['gain'])
    if key != _LM_HEAD:
        yield from blocks
        return
    scale = _row_scales(spec)
    start = 0
    for block in blocks:
        rows: np.ndarray = np.arange(start, start + block.size) // shape[1]
        yield _to_bfloat16_grid(block * scale[rows])
        start += block.size


def _row_scales(spec: Mapping[str, Any]) -> np.ndarray:
    """
    Factor of each row of the output layer, float32 (vocabulary,).

    With ``other_rows`` near zero greedy decoding gives action tokens only; without it, as in the
    golden checkpoints, a stray word can win.
    """
    config, gain = spec['config'], spec['gain']
    vocabulary = config['text_config']['vocab_size']
    end = vocabulary - config['pad_to_multiple_of']
    scale = np.full(vocabulary, gain.get('other_rows', 1.0), dtype=np.float32)
    scale[end - config['n_action_bins']:end] = gain['action_rows']
    return scale


def _mean_and_std(key: str, shape: Shape, gain: Mapping[str, Any]) -> tuple[float, float]:
    """Scale rule by tensor name; ``gain`` holds the few numbers in which specs differ."""
    if key.endswith('scale_factor'):
        return gain['layer_scale'], 0.25 * gain['layer_scale']
    if 'norm' in key.rsplit('.', 2)[-2] or key.endswith(('ffn.0.weight', 'ffn.0.bias')):
        return (1.0, 0.2) if key.endswith('weight') else (0.0, 0.1)
    if key.endswith(('pos_embed', 'cls_token', 'reg_token', 'latent')):
        return 0.0, gain['tokens']
    if key.endswith('embed_tokens.weight'):
        return 0.0, gain['embed']
    if key.endswith('lm_head.weight'):
        return 0.0, gain['lm_head'] / math.sqrt(shape[1])
    if key.endswith('bias'):
        return 0.0, 0.1
    fan_in = math.prod(shape[1:])
    factors = (factor for part, factor in gain['linear'] if part in key)
    return 0.0, next(factors, 1.0) / math.sqrt(fan_in)


def _write_configuration(spec: Mapping[str, Any], folder: Path, dtype: str) -> None:
    """Write every JSON file of the folder but the index of the weights."""
    config = dict(spec['config'])
    config['text_config'] = {**config['text_config'], 'torch_dtype': dtype}
    config['torch_dtype'] = dtype
    config['norm_stats'] = spec['norm_stats']
    # This project's own key: constructor arguments of towers whose names timm does not publish.
    config['timm_model_args'] = {name: spec['tiny_timm'][name]
                                 for name in config['timm_model_ids']}
    _write_json(folder / 'config.json', config)
    _write_json(folder / 'generation_config.json',
                {'_from_model_config': True, 'bos_token_id': 1, 'eos_token_id': 2,
                 'pad_token_id': config['pad_token_id'], 'transformers_version': '4.40.1'})
    _write_json(folder / 'preprocessor_config.json', spec['preprocessor'])
    if spec.get('write_dataset_statistics', True):
        _write_json(folder / 'dataset_statistics.json', spec['norm_stats'])


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + '\n', encoding='utf-8')


def _write_weights(spec: Mapping[str, Any], folder: Path, dtype: str, shards: int) -> str:
    """Write the weight files and their index; return the sha256 over all values."""
    shapes = model_shapes(spec)
    digest = hashlib.sha256()
    parts = _split(shapes, shards)
    names = ['model.safetensors'] if shards == 1 else [
        f'model-{i:05d}-of-{len(parts):05d}.safetensors' for i in range(1, len(parts) + 1)]
    for name, part in zip(names, parts):
        with (folder / name).open('wb') as file:
            _write_header(file, part, dtype)
            for key, shape in part.items():
                digest.update(f'{key}{list(shape)}'.encode())
                for block in _weight_blocks(spec, key, shape):
                    digest.update(block.astype('<f4', copy=False).tobytes())
                    file.write(_stored(block, dtype))
    if shards > 1:
        total = _STORAGE[dtype][1] * sum(map(math.prod, shapes.values()))
        weight_map = {key: name for name, part in zip(names, parts) for key in part}
        _write_json(folder / 'model.safetensors.index.json',
                    {'metadata': {'total_size': total}, 'weight_map': weight_map})
    return digest.hexdigest()


def _split(shapes: Shapes, shards: int) -> list[Shapes]:
    """Cut the tensors, sorted by name, into at most ``shards`` runs of about equal size."""
    total = sum(map(math.prod, shapes.values()))
    parts: list[Shapes] = [{} for _ in range(shards)]
    used = 0
    for key in sorted(shapes):
        parts[min(shards - 1, used * shards // total)][key] = shapes[key]
        used += math.prod(shapes[key])
    return [part for part in parts if part]


def _write_header(file: BinaryIO, shapes: Shapes, dtype: str) -> None:
    """Write the start of a safetensors file, padded to eight bytes; the tensors follow."""
    name, width = _STORAGE[dtype]
    header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
    start = 0
    for key, shape in shapes.items():
        end = start + width * math.prod(shape)
        header[key] = {'dtype': name, 'shape': list(shape), 'data_offsets': [start, end]}
        start = end
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    file.write(struct.pack('<Q', len(text)) + text)


def _stored(values: np.ndarray, dtype: str) -> bytes:
    """Little-endian bytes of bfloat16-representable float32 values."""
    if dtype == 'float32':
        return values.astype('<f4', copy=False).tobytes()
    return (values.view(np.uint32) >> np.uint32(16)).astype('<u2').tobytes()


def _copy_tokenizer(source: Path, folder: Path) -> None:
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _write_oft_parts(spec: Mapping[str, Any], folder: Path) -> None:
    """
    Write one file per part, as the official folder has them.

    Official parts are ``.pt`` files in bfloat16 whose keys carry the training wrapper's
    ``module.``; without torch a ``.safetensors`` file with plain keys stands in.
    """
    gain = {**spec['gain'], 'linear': spec['oft']['linear']}
    for part, shapes in _oft_shapes(spec).items():
        tensors = {}
        for key, shape in sorted(shapes.items()):
            blocks = _value_blocks(spec['seed'], f'{part}/{key}', shape, gain)
            tensors[key] = np.concatenate(list(blocks)).reshape(shape)
        stem = folder / f'{part}--{spec["oft"]["step"]}_checkpoint'
        try:
            import torch
        except ImportError:
            with stem.with_suffix('.safetensors').open('wb') as file:
                _write_header(file, dict(sorted(shapes.items())), 'float32')
                file.writelines(_stored(value, 'float32') for value in tensors.values())
            continue
        torch.save({f'module.{key}': torch.from_numpy(value).to(torch.bfloat16)
                    for key, value in tensors.items()}, stem.with_suffix('.pt'))
