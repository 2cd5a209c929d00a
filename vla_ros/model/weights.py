# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Weights from disk to device, once: no second copy of the model exists at any time."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
import re

from safetensors import safe_open
from safetensors import SafetensorError
import torch
from torch import Tensor

from vla_ros.errors import CheckpointError
from vla_ros.model.config import read_json
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.skeleton import give_memory
from vla_ros.model.skeleton import skeleton
from vla_ros.policy import Progress

# A mapped file counts as this process's memory while it is open, so it is closed and opened again
# after this many bytes: the peak stays near the size of the model itself.
_MAP_WINDOW = 64 * 2**20


@dataclass(frozen=True)
class Target:
    """Where a stored tensor goes: the rows of a parameter, fused matrices have several parts."""

    parameter: Tensor
    rows: slice

    def view(self) -> Tensor:
        """Return the memory to write to."""
        return self.parameter.data[self.rows]


def weight_files(folder: Path) -> dict[str, Path]:
    """
    Find the safetensors file of every stored tensor, by key.

    :raises CheckpointError: no weights, a missing shard, or a damaged file.
    """
    index = folder / 'model.safetensors.index.json'
    single = folder / 'model.safetensors'
    if index.is_file():
        weight_map = read_json(index).get('weight_map')
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(folder, f'{index.name} holds no weight_map')
        names = sorted(set(weight_map.values()))
    elif single.is_file():
        names = [single.name]
    else:
        raise CheckpointError(
            folder, 'no model.safetensors and no model.safetensors.index.json; weights in other '
            'formats are not loaded')
    files = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            raise CheckpointError(folder, f'{name} is missing, though {index.name} lists it')
        with _open(path) as stored:
            files.update(dict.fromkeys(stored.keys(), path))
    return files


def targets(network: OpenVlaNetwork) -> dict[str, Target]:
    """Map every key of the official layout to the rows that it fills."""
    found = {}
    for name, parameter in network.named_parameters():
        for key, rows in _stored_keys(name, parameter, network):
            found[key] = Target(parameter, rows)
    return found


def _stored_keys(name: str, parameter: Tensor,
                 network: OpenVlaNetwork) -> Iterator[tuple[str, slice]]:
    """Yield the official key(s) of a parameter with the rows each of them fills."""
    llama = network.config.language_model
    if name == 'language_model.lm_head.weight' or not name.startswith('language_model.'):
        yield name, slice(None)
        return
    name = name.replace('language_model.', 'language_model.model.', 1)
    query, key = llama.num_attention_heads * llama.head_size, llama.kv_heads * llama.head_size
    parts = {'qkv_proj': [('q_proj', query), ('k_proj', key), ('v_proj', key)],
             'gate_up_proj': [('gate_proj', llama.intermediate_size),
                              ('up_proj', llama.intermediate_size)]}
    for fused, pieces in parts.items():
        if f'.{fused}.' in name:
            row = 0
            for piece, size in pieces:
                yield name.replace(fused, piece), slice(row, row + size)
                row += size
            return
    yield name, slice(None)


def load_weights(network: OpenVlaNetwork, folder: Path, progress: Progress) -> None:
    """
    Fill a network whose parameters are allocated on their device but hold nothing yet.

    Each tensor is copied straight from the mapped file into its place, converted on the way.

    :raises CheckpointError: tensors are missing, unknown or of another shape.
    """
    files = weight_files(folder)
    wanted = targets(network)
    _check_keys(folder, set(files), set(wanted), network)
    total = sum(target.view().numel() for target in wanted.values())
    done = 0
    for path, keys in _windows(files, wanted):
        with _open(path) as stored:
            for key in keys:
                place = wanted[key].view()
                _copy(stored, key, place, folder)
                done += place.numel()
                progress(done / total, 'loading weights')


def _windows(files: dict[str, Path],
             wanted: dict[str, Target]) -> Iterator[tuple[Path, list[str]]]:
    """Group the wanted keys of each file so that no group maps more than a window at once."""
    for path in sorted(set(files.values())):
        keys: list[str] = []
        size = 0
        for key in (key for key, holder in files.items() if holder == path and key in wanted):
            bytes_at_most = 4 * wanted[key].view().numel()
            if keys and size + bytes_at_most > _MAP_WINDOW:
                yield path, keys
                keys, size = [], 0
            keys.append(key)
            size += bytes_at_most
        if keys:
            yield path, keys


def _copy(stored: safe_open, key: str, place: Tensor, folder: Path) -> None:
    try:
        tensor = stored.get_tensor(key)
    except SafetensorError as error:
        raise CheckpointError(folder, f'{key}: {error}') from None
    if tensor.shape != place.shape:
        raise CheckpointError(folder, f'{key} has shape {tuple(tensor.shape)}, config.json makes '
                                      f'it {tuple(place.shape)}')
    if not tensor.is_floating_point():
        raise CheckpointError(folder, f'{key} is stored as {tensor.dtype}; only floating point '
                                      'weights are loaded')
    place.copy_(tensor)


def _open(path: Path) -> safe_open:
    try:
        return safe_open(path, framework='pt')
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path.parent, f'{path.name} is damaged or truncated ({error})') \
            from None


def _check_keys(folder: Path, stored: set[str], wanted: set[str],
                network: OpenVlaNetwork) -> None:
    if network.config.language_model.tie_word_embeddings:
        stored = stored - {'language_model.lm_head.weight'}
    missing = sorted(wanted - stored)
    unused = unused_keys(network)
    unknown = sorted(key for key in stored - wanted if not unused.search(key))
    for problem, keys in (('lacks', missing), ('has unknown', unknown)):
        if keys:
            shown = ', '.join(keys[:3]) + (' …' if len(keys) > 3 else '')
            raise CheckpointError(folder, f'{problem} {len(keys)} tensors: {shown}')


def unused_keys(network: OpenVlaNetwork) -> re.Pattern:
    """Match what is stored but has no effect: each tower's last block and what follows it."""
    names = ('featurizer', 'fused_featurizer')
    towers = '|'.join(
        rf'{name}\.(norm|attn_pool|fc_norm|head|blocks\.{tower.depth - 1})\.'
        for name, tower in zip(names, network.config.towers))
    return re.compile(rf'^vision_backbone\.({towers})|\.rotary_emb\.inv_freq$')


def build_network(build: Callable[[], OpenVlaNetwork], device: torch.device,
                  dtype: torch.dtype) -> OpenVlaNetwork:
    """
    Construct a network without spending memory or time on values that loading overwrites.

    :param build: makes the network; called where every new tensor is on the meta device.
    """
    with skeleton():
        network = build()
    give_memory(network, device, dtype)
    return network
