# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
FiLM: the instruction modulates the vision towers (OFT+).

Between attention and feed-forward of each block, x becomes x·(1 + scale(l)) + shift(l), where l
is the mean embedding of the text. Source: prismatic/models/film_vit_wrapper.py of
moojink/openvla-oft.
"""

from pathlib import Path
import re

import torch
from torch import nn
from torch import Tensor

from vla_ros.errors import CheckpointError
from vla_ros.model.lora import merge_pair
from vla_ros.model.meta_device import on_meta_device
from vla_ros.model.module_files import load_module
from vla_ros.model.module_files import read_module_file
from vla_ros.model.network import VisionBackbone
from vla_ros.model.vit import VisionTransformer

_TOWERS = ('featurizer', 'fused_featurizer')


class Modulation(nn.Module):
    """The scale and shift of one block."""

    def __init__(self, language: int, vision: int) -> None:
        super().__init__()
        self.scale = nn.Linear(language, vision)
        self.shift = nn.Linear(language, vision)

    def forward(self, x: Tensor, language: Tensor) -> Tensor:
        """Modulate (B, tokens, vision) by (language,)."""
        return x * (1 + self.scale(language)) + self.shift(language)


class FilmTower(nn.Module):
    """A vision tower with a modulation in each block."""

    def __init__(self, tower: VisionTransformer, language: int) -> None:
        super().__init__()
        self.tower = tower
        with on_meta_device():
            self.modulations = nn.ModuleList(
                Modulation(language, tower.config.embed_dim) for _ in tower.blocks)

    def forward(self, pixels: Tensor, language: Tensor) -> Tensor:
        """Convert (B, 3, S, S) to (B, patches, vision)."""
        x = self.tower.embed(pixels)
        for block, modulate in zip(self.tower.blocks, self.modulations):
            x = x + block.ls1(block.attn(block.norm1(x)))
            x = modulate(x, language)
            x = x + block.ls2(block.mlp(block.norm2(x)))
        return x[:, self.tower.config.prefix_tokens:]


class FilmBackbone(nn.Module):
    """The vision towers of a network, modulated."""

    def __init__(self, backbone: VisionBackbone, language: int) -> None:
        super().__init__()
        for name in _TOWERS:
            if hasattr(backbone, name):
                self.add_module(name, FilmTower(getattr(backbone, name), language))

    def forward(self, pixels: Tensor, language: Tensor) -> Tensor:
        """
        Convert images to patch features.

        :param pixels: (B, 3·towers, S, S).
        :param language: (hidden,), mean embedding of the text.
        :returns: (B, patches, sum of the towers' widths).
        """
        images = pixels.split(3, dim=1)
        return torch.cat([tower(image, language)
                          for tower, image in zip(self.children(), images)], dim=2)


def load_film(backbone: VisionBackbone, path: Path, language: int, device: torch.device,
              dtype: torch.dtype) -> FilmBackbone:
    """
    Load a ``vision_backbone--*`` part over towers that are loaded already.

    The part holds all weights of the towers, with LoRA pairs beside them that were never merged.

    :raises CheckpointError: tensors are missing, unknown or of another shape.
    """
    tensors = _merge_lora(read_module_file(path), path)
    film = FilmBackbone(backbone, language)
    depths = {name: len(getattr(film, name).modulations)
              for name in _TOWERS if hasattr(film, name)}
    tensors = {name: tensor for key, tensor in tensors.items()
               if (name := _place(key, depths)) is not None}
    load_module(film, tensors, path, device, dtype)
    return film


def _merge_lora(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Merge PEFT's pairs into their base layers; alpha is min(r, 16), as in the official code."""
    merged = {}
    for key, tensor in tensors.items():
        if '.lora_' in key:
            continue
        stem = re.sub(r'\.base_layer\.weight$', '', key)
        if stem != key:
            try:
                down = tensors[f'{stem}.lora_A.default.weight']
                up = tensors[f'{stem}.lora_B.default.weight']
            except KeyError as error:
                raise CheckpointError(path.parent, f'{path.name} lacks {error}') from None
            rank = down.shape[0]
            tensor = merge_pair(tensor, down, up, min(rank, 16) / rank)
        merged[key.replace('.base_layer.', '.')] = tensor
    return merged


def _place(key: str, depths: dict[str, int]) -> str | None:
    """Convert a stored name to that of :class:`FilmBackbone`, None for what has no effect."""
    key = key.removeprefix('vision_backbone.')
    tower, _, name = key.partition('.')
    if tower not in depths or name.startswith(('norm.', 'attn_pool.', 'fc_norm.', 'head.')):
        return None if tower in depths else key
    found = re.match(r'blocks\.(\d+)\.(block\.|scale\.|shift\.)?(.*)', name)
    if not found:
        return f'{tower}.tower.{name}'
    index, kind, rest = found.groups()
    if int(index) >= depths[tower]:
        return None  # the last block comes behind the features that are taken
    if kind in ('scale.', 'shift.'):
        return f'{tower}.modulations.{index}.{kind}{rest}'
    return f'{tower}.tower.blocks.{index}.{rest}'
