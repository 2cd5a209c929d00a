# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
LoRA adapters in the folder format of Hugging Face's PEFT: merged, or several kept side by side.

One adapter is merged into the weights when they are loaded and costs nothing afterwards. Several
cannot be: adding one and taking it away again drifts in bfloat16, and reading the base again
takes as long as loading it. They stay what they are, two thin matrices beside each base matrix,
and the active one is copied into the matrix that the network reads, so that switching takes
milliseconds and leaves memory, and captured CUDA graphs, as they were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math
import os
from pathlib import Path
import re
import reprlib

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.errors import CheckpointError
from vla_ros.errors import ParameterError
from vla_ros.model.config import read_json
from vla_ros.model.module_files import read_module_file
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.values import ConfigValueError
from vla_ros.model.values import flag
from vla_ros.model.values import mapping
from vla_ros.model.values import number
from vla_ros.model.weights import Target
from vla_ros.model.weights import targets
from vla_ros.model.weights import unused_keys

# What would change the meaning of the stored pairs; the value is the one that does not.
_ONLY = {'use_dora': False, 'fan_in_fan_out': False, 'bias': 'none', 'lora_bias': False,
         'modules_to_save': None, 'layer_replication': None, 'use_qalora': False}
# Ways to begin that also changed the base matrices, which are not stored with the adapter.
_CHANGED_BASE = ('pissa', 'olora', 'corda', 'loftq')
_MOST_ALPHA = 1e6
_PAIR = re.compile(r'^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])'
                   r'(?:\.default)?\.weight$')


def merge_pair(base: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """
    Merge one pair of low-rank matrices into the matrix they were trained on.

    The product is made in float32 whatever the storage: bfloat16 would lose the small update.

    :param base: (out, in).
    :param down: (r, in), PEFT's A.
    :param up: (out, r), PEFT's B.
    :param scale: alpha / r.
    :returns: base + scale·up·down, of base's type.
    """
    update = scale * (up.float() @ down.float())
    return (base.float() + update).to(base.dtype)


@dataclass(frozen=True)
class Pair:
    """The update of one matrix: scale · up (out, r) · down (r, in)."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True)
class Adapter:
    """An adapter as read: its pairs by the official key of the matrix that each one updates."""

    folder: Path
    pairs: Mapping[str, Pair]


def read_adapter(folder: Path) -> Adapter:
    """
    Read a folder that PEFT's ``save_pretrained`` wrote.

    :raises CheckpointError: a file is missing or damaged, or the adapter is not plain LoRA.
    """
    config = read_json(folder / 'adapter_config.json')
    _check_plain(folder, config)
    file = _weights_file(folder)
    tensors = read_module_file(file)
    if not any(tensor.numel() for tensor in tensors.values()):
        raise CheckpointError(folder, f'{file.name} holds no tensors: DeepSpeed ZeRO-3 saves such '
                                      'a file unless the weights are gathered; save it again with '
                                      'stage3_gather_16bit_weights_on_model_save')
    sides: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        found = _PAIR.match(key)
        if not found or tensor.ndim != 2:
            raise CheckpointError(folder, f'{key} is no matrix of a LoRA pair; only adapters of '
                                          'linear layers are supported')
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise CheckpointError(folder, f'{key} ({tensor.dtype}) must hold finite floating '
                                          'point numbers')
        sides.setdefault(found['module'], {})[found['side']] = tensor
    pairs = {}
    for module, pair in sides.items():
        if len(pair) != 2 or pair['A'].shape[0] != pair['B'].shape[1] or not pair['A'].numel():
            raise CheckpointError(folder, f'{module}: lora_A and lora_B do not make a pair')
        try:
            scale = _scale(config, module, pair['A'].shape[0])
        except ConfigValueError as error:
            raise CheckpointError(folder, f'adapter_config.json: {error}') from None
        pairs[f'{module}.weight'] = Pair(pair['A'], pair['B'], scale)
    if not any(pair.down.any() and pair.up.any() for pair in pairs.values()):
        raise CheckpointError(folder, f'{file.name} changes nothing: lora_A or lora_B is zero in '
                                      f'each of its {len(pairs)} pairs, as before the first step '
                                      'of a training')
    return Adapter(folder, pairs)


def _check_plain(folder: Path, config: Mapping) -> None:
    if config.get('peft_type') != 'LORA':
        raise CheckpointError(folder, f'adapter_config.json: peft_type '
                                      f'{reprlib.repr(config.get("peft_type"))} is not "LORA"')
    for name, plain in _ONLY.items():
        value = config.get(name)
        if value not in (plain, None, False) and value != []:
            raise CheckpointError(folder, f'adapter_config.json: {name} {reprlib.repr(value)} is '
                                          f'not supported, only {plain!r}')
    start = config.get('init_lora_weights')
    if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
        raise CheckpointError(folder, f'adapter_config.json: init_lora_weights {start!r} changed '
                                      'the base weights; convert the adapter with peft first')


def _weights_file(folder: Path) -> Path:
    for name in ('adapter_model.safetensors', 'adapter_model.bin'):
        if os.path.lexists(folder / name):
            # read_module_file knows files by suffix; PEFT's old .bin is what others call .pt
            return folder / name
    raise CheckpointError(folder, 'adapter_model.safetensors is missing')


def _scale(config: Mapping, module: str, rank: int) -> float:
    """Scale of one pair, as PEFT computes it; its own rank is in its shape."""
    name, alpha = 'lora_alpha', number(config, 'lora_alpha', 8, -_MOST_ALPHA, _MOST_ALPHA)
    patterns = mapping(config, 'alpha_pattern')
    for pattern in patterns:
        try:
            matched = re.match(rf'(.*\.)?({pattern})$', module)
        except re.error as error:
            raise ConfigValueError('alpha_pattern', pattern, f'a regular expression ({error})') \
                from None
        if matched:
            name = f'alpha_pattern.{pattern}'
            alpha = number(patterns, pattern, alpha, -_MOST_ALPHA, _MOST_ALPHA, 'alpha_pattern.')
            break
    if alpha == 0:
        raise ConfigValueError(name, alpha, 'a number other than zero: nothing would be changed')
    return alpha / (math.sqrt(rank) if flag(config, 'use_rslora', False) else rank)


def locate(adapter: Adapter, network: OpenVlaNetwork) -> dict[str, tuple[Target, Pair]]:
    """
    Find the matrix of every pair in a network; pairs without effect are left out.

    :raises CheckpointError: the adapter was trained on another network.
    """
    matrices, unused = targets(network), unused_keys(network)
    found = {}
    for key, pair in adapter.pairs.items():
        if unused.search(key):
            continue
        if key not in matrices:
            raise CheckpointError(adapter.folder, f'{key}: this checkpoint has no such matrix')
        matrix, shape = matrices[key], (pair.up.shape[0], pair.down.shape[1])
        if tuple(matrix.view().shape) != shape:
            raise CheckpointError(adapter.folder, f'{key}: the pair makes a matrix of {shape}, '
                                                  f'the checkpoint has '
                                                  f'{tuple(matrix.view().shape)}')
        found[key] = (matrix, pair)
    if not any(pair.down.any() and pair.up.any() for _, pair in found.values()):
        raise CheckpointError(
            adapter.folder, f'it changes nothing: its {len(adapter.pairs)} pairs are for layers '
            f'whose output is never used, {next(iter(adapter.pairs))} first')
    return found


@torch.no_grad()
def merge_adapter(adapter: Adapter, network: OpenVlaNetwork) -> None:
    """
    Merge an adapter into loaded weights, matrix by matrix, in place.

    :raises CheckpointError: the adapter was trained on another network.
    """
    for matrix, pair in locate(adapter, network).values():
        view = matrix.view()
        down, up = (side.to(view.device) for side in (pair.down, pair.up))
        view.copy_(merge_pair(view, down, up, pair.scale))


class AdaptedLinear(nn.Module):
    """
    A linear layer with the active adapter's two thin matrices beside it.

    A fused matrix has one pair for each of its parts: their A stand below each other, their B on
    the diagonal, so that two products serve all parts.
    """

    down: Tensor
    up: Tensor

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        weight = base.weight
        self.base = base
        self.register_buffer('down', weight.new_zeros(rank, base.in_features))
        self.register_buffer('up', weight.new_zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + functional.linear(functional.linear(x, self.down), self.up)


class AdapterSwitch:
    """Several adapters of one network, at most one of them active."""

    def __init__(self, network: OpenVlaNetwork, adapters: Mapping[str, Adapter]) -> None:
        """
        Add all adapters beside the base matrices; none is active yet.

        :raises CheckpointError: an adapter was trained on another network.
        """
        self.active: str | None = None
        located = {name: locate(adapter, network) for name, adapter in adapters.items()}
        modules = _owners(network)
        wanted: dict[str, dict[str, list[tuple[slice, Pair]]]] = {}
        for name, matrices in located.items():
            for matrix, pair in matrices.values():
                owner = modules[id(matrix.parameter)]
                wanted.setdefault(owner, {}).setdefault(name, []).append((matrix.rows, pair))
        self._layers: dict[str, AdaptedLinear] = {}
        self._stored: dict[str, dict[str, tuple[Tensor, Tensor]]] = {
            name: {} for name in adapters}
        for owner, by_adapter in wanted.items():
            rank = max(sum(len(pair.down) for _, pair in pieces)
                       for pieces in by_adapter.values())
            base = network.get_submodule(owner)
            assert isinstance(base, nn.Linear)
            layer = AdaptedLinear(base, rank)
            network.set_submodule(owner, layer)
            self._layers[owner] = layer
            for name, pieces in by_adapter.items():
                self._stored[name][owner] = _stack(pieces, layer)

    @torch.no_grad()
    def select(self, name: str | None) -> None:
        """
        Make an adapter the active one, or none of them.

        :raises ParameterError: there is no adapter of that name.
        """
        if name is not None and name not in self._stored:
            raise ParameterError('adapter', name, f'one of {", ".join(self._stored)}')
        if name == self.active:
            return
        stored = self._stored[name] if name is not None else {}
        for owner, layer in self._layers.items():
            if owner in stored:
                # From wherever they were put together to where the network runs.
                layer.down.copy_(stored[owner][0])
                layer.up.copy_(stored[owner][1])
            else:
                layer.up.zero_()
        self.active = name


class MergedAdapter:
    """At most one adapter, which became part of the weights."""

    def __init__(self, active: str | None) -> None:
        self.active = active

    def select(self, name: str | None) -> None:
        """
        Accept only what is there already.

        :raises ParameterError: anything else is asked for.
        """
        if name != self.active:
            raise ParameterError(
                'adapter', name, f'{self.active!r}: '
                + ('it was merged when it was loaded; give several adapters to switch between'
                   if self.active else 'no adapter was loaded'))


Adapters = AdapterSwitch | MergedAdapter


def apply_adapters(network: OpenVlaNetwork, adapters: Mapping[str, Adapter],
                   active: str | None) -> Adapters:
    """
    Merge a single adapter, put several beside the base and make one of them active.

    :raises CheckpointError: an adapter was trained on another network.
    """
    if not adapters:
        return MergedAdapter(None)
    first = next(iter(adapters)) if active is None else active
    if len(adapters) == 1:
        merge_adapter(adapters[first], network)
        return MergedAdapter(first)
    switch = AdapterSwitch(network, adapters)
    switch.select(first)
    return switch


def _owners(network: OpenVlaNetwork) -> dict[int, str]:
    """Name the linear layer of every matrix, by the identity of its parameter."""
    return {id(module.weight): name for name, module in network.named_modules()
            if isinstance(module, nn.Linear)}


def _stack(pieces: list[tuple[slice, Pair]], layer: AdaptedLinear) -> tuple[Tensor, Tensor]:
    """Stack the pairs of a layer's parts into matrices of its buffers' shapes."""
    down, up = torch.zeros_like(layer.down), torch.zeros_like(layer.up)
    row = 0
    for rows, pair in pieces:
        rank = len(pair.down)
        down[row:row + rank] = pair.down
        up[rows, row:row + rank] = pair.scale * pair.up.float()
        row += rank
    return down, up
