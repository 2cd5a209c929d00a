# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
OpenVLA-OFT's small networks: action heads and projectors.

Source of the shapes: prismatic/models/{action_heads,projectors}.py of moojink/openvla-oft. The
names of the parameters are those of the stored files.
"""

from pathlib import Path
import re

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.errors import CheckpointError
from vla_ros.model.meta_device import on_meta_device
from vla_ros.model.module_files import load_module
from vla_ros.model.module_files import read_module_file


class ResidualBlock(nn.Module):
    """Pre-norm block with a residual connection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ffn(x)


class MlpResNet(nn.Module):
    """From the hidden states of one action's positions, side by side, to its D numbers."""

    def __init__(self, blocks: int, in_dim: int, hidden: int, out_dim: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(in_dim)
        self.fc1 = nn.Linear(in_dim, hidden)
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(hidden) for _ in range(blocks))
        self.layer_norm2 = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Convert (…, D·hidden) to (…, D)."""
        x = functional.relu(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        return self.fc2(self.layer_norm2(x))


class Projector(nn.Module):
    """Two linear layers with an exact GELU between: a state, or one noisy number, to a token."""

    def __init__(self, in_dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden)
        self.fc2 = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Convert (…, in_dim) to (…, hidden)."""
        return self.fc2(functional.gelu(self.fc1(x)))


#: Where the network of each kind of action head sits in its file.
HEAD_PREFIXES = {'l1': 'model.', 'diffusion': 'noise_predictor.mlp_resnet.'}


def load_action_head(path: Path, hidden: int, device: torch.device,
                     dtype: torch.dtype) -> tuple[str, MlpResNet]:
    """
    Read an action head; its kind and its sizes are in its keys and shapes.

    :returns: ``l1`` or ``diffusion``, and the network.
    :raises CheckpointError: the file holds another kind of head, or does not fit the model.
    """
    tensors = read_module_file(path)
    for kind, prefix in HEAD_PREFIXES.items():
        if f'{prefix}fc2.weight' in tensors and tensors[f'{prefix}fc2.weight'].ndim == 2:
            break
    else:
        raise CheckpointError(path.parent, f'{path.name} is neither an L1 head nor a diffusion '
                                           f'head: it lacks {" and ".join(_last_layers())}')
    tensors = {_without(prefix, key): value for key, value in tensors.items()}
    blocks = len({name for key in tensors if (name := _block_name(key))})
    dim = tensors['fc2.weight'].shape[0]
    with on_meta_device():
        head = MlpResNet(blocks, dim * hidden, hidden, dim)
    load_module(head, tensors, path, device, dtype)
    return kind, head


def load_projector(path: Path, hidden: int, device: torch.device,
                   dtype: torch.dtype) -> Projector:
    """
    Read a projector of states or of noisy actions; the length of its input is in its shape.

    :raises CheckpointError: the file is damaged or does not fit the model.
    """
    tensors = read_module_file(path)
    if 'fc1.weight' not in tensors or tensors['fc1.weight'].ndim != 2:
        raise CheckpointError(path.parent, f'{path.name} lacks the matrix fc1.weight')
    with on_meta_device():
        projector = Projector(tensors['fc1.weight'].shape[1], hidden)
    load_module(projector, tensors, path, device, dtype)
    return projector


def _last_layers() -> list[str]:
    return [f'{prefix}fc2.weight' for prefix in HEAD_PREFIXES.values()]


def _without(prefix: str, key: str) -> str:
    # A key of something else keeps its name and is reported as unknown.
    return key.removeprefix(prefix)


def _block_name(key: str) -> str | None:
    found = re.match(r'mlp_resnet_blocks\.(\d+)\.', key)
    return found.group(1) if found else None
