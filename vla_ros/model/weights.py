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
from vla_ros.model.meta_device import materialize
from vla_ros.model.meta_device import on_meta_device
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.shards import INDEX
from vla_ros.model.shards import shards
from vla_ros.util.files import check_regular
from vla_ros.util.files import FileError
from vla_ros.util.progress import Progress

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

    :raises CheckpointError: no weights, a missing shard, a damaged file, or one without a tensor
        that the index lists in it.
    """
    files: dict[str, Path] = {}
    expected = shards(folder)
    listed = {key: name for name, keys in expected.items() for key in keys}
    for name, keys in expected.items():
        path = folder / name
        with open_safetensors(path) as stored:
            found = set(stored.keys())
        missing = sorted(keys - found)
        if missing:
            raise CheckpointError(folder, f'{name} lacks {len(missing)} tensors that {INDEX} '
                                          f'lists: {missing[0]}')
        files.update({key: path for key in found if listed.get(key, name) == name})
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


def check_weights(network: OpenVlaNetwork, folder: Path) -> None:
    """
    Compare what is stored with a network that need not have memory yet.

    :raises CheckpointError: tensors are missing, unknown or of another shape.
    """
    files = weight_files(folder)
    wanted = targets(network)
    _check_keys(folder, set(files), set(wanted), network)
    for path in sorted(set(files.values())):
        with open_safetensors(path) as stored:
            for key in (key for key in wanted if files[key] == path):
                shape = tuple(stored.get_slice(key).get_shape())
                expected = tuple(wanted[key].view().shape)
                if shape != expected:
                    raise CheckpointError(folder, f'{key} has shape {shape}, config.json makes '
                                                  f'it {expected}')


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
        with open_safetensors(path) as stored:
            for key in keys:
                target = wanted[key].view()
                _copy(stored, key, target, folder)
                done += target.numel()
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


def _copy(stored: safe_open, key: str, target: Tensor, folder: Path) -> None:
    try:
        tensor = stored.get_tensor(key)
    except (SafetensorError, AttributeError, KeyError, RuntimeError) as error:
        # a type that this torch does not know is not a SafetensorError
        raise CheckpointError(folder, f'{key}: {error}') from None
    if tensor.shape != target.shape:
        raise CheckpointError(folder, f'{key} has shape {tuple(tensor.shape)}, config.json makes '
                                      f'it {tuple(target.shape)}')
    if not tensor.is_floating_point():
        raise CheckpointError(folder, f'{key} is stored as {tensor.dtype}; only floating point '
                                      'weights are loaded')
    target.copy_(tensor)


def open_safetensors(path: Path) -> safe_open:
    """
    Open a file of tensors, which stay on the disk until they are asked for.

    :raises CheckpointError: it is missing, damaged, or no such file.
    """
    try:
        check_regular(path)
        return safe_open(path, framework='pt')
    except FileError as error:
        raise CheckpointError(path.parent, f'{path.name} {error.problem}') from None
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


def build_network(build: Callable[[], OpenVlaNetwork], device: torch.device, dtype: torch.dtype,
                  folder: Path | None = None) -> OpenVlaNetwork:
    """
    Construct a network without spending memory or time on values that loading overwrites.

    :param build: makes the network; called where every new tensor is on the meta device.
    :param folder: whose weights must fit it; nothing is allocated before they do.
    :raises CheckpointError: they do not.
    """
    with on_meta_device():
        network = build()
    if folder is not None:
        check_weights(network, folder)
    materialize(network, device, dtype)
    return network
