# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The residual head: a continuous value for each dimension, bounded by the bin of its token.

A token names one of 255 bins. From the hidden state of the token a small network computes a
continuous value, which is clamped to the bin of the token: it never overrides the token.
docs/residual_head.md describes the file.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.data.actions import ActionTokenizer
from vla_ros.errors import CheckpointError
from vla_ros.model.meta_device import on_meta_device
from vla_ros.model.module_files import load_module
from vla_ros.model.module_files import read_module_file


class ResidualHead(nn.Module):
    """From the hidden state of each of D tokens to D values, always in float32."""

    def __init__(self, hidden: int, width: int, action_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.fc1 = nn.Linear(hidden, width)
        self.fc2 = nn.Linear(width, action_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """
        Read the values.

        :param hidden: (…, D, hidden), the states that the D tokens of an action were read from.
        :returns: float32 (…, D), normalised as the tokens' bin centers are.
        """
        features = functional.gelu(self.fc1(self.norm(hidden.float())))
        # Each dimension has an output layer of its own.
        return (features * self.fc2.weight).sum(-1) + self.fc2.bias


def refine(values: np.ndarray, bins: np.ndarray, tokenizer: ActionTokenizer) -> np.ndarray:
    """
    Move values into the winning bins.

    :param values: float (…, D), what the residual head reads.
    :param bins: int (…, D), the winning bins.
    :returns: float64 (…, D), within half a bin of the bins' centers.
    """
    centers = tokenizer.centers[bins]
    half = 1.0 / (tokenizer.n_bins - 1)
    return np.clip(values.astype(np.float64), centers - half, centers + half)


def load_residual_head(path: Path, hidden: int, action_dim: int,
                       device: torch.device) -> ResidualHead:
    """
    Read a ``residual_head--*`` part.

    :raises CheckpointError: the file is damaged or does not fit the model.
    """
    tensors = read_module_file(path)
    if 'fc1.bias' not in tensors or tensors['fc1.bias'].ndim != 1:
        raise CheckpointError(path.parent, f'{path.name} lacks fc1.bias, a vector')
    with on_meta_device():
        head = ResidualHead(hidden, len(tensors['fc1.bias']), action_dim)
    load_module(head, tensors, path, device, torch.float32)
    return head


@torch.no_grad()
def fit_residual_head(hidden: Tensor, actions: Tensor, width: int = 512, ridge: float = 1e-7,
                      seed: int = 0) -> ResidualHead:
    """
    Fit a head to recorded states: a fixed random first layer, the second by least squares.

    No step size, no epochs: the same data always gives the same head, in seconds.

    :param hidden: (N, D, hidden), states under the tokens of the recorded actions.
    :param actions: (N, D), the actions themselves, normalised to [-1, 1].
    :param width: size of the layer between.
    :param ridge: what is added to the diagonal of the normal equations, per sample.
    """
    count, dim, size = hidden.shape
    head = ResidualHead(size, width, dim)
    generator = torch.Generator().manual_seed(seed)
    flat = functional.layer_norm(hidden.double(), (size,)).flatten(0, 1)
    # The norm's own weights make every input of the first layer vary by about one.
    spread = flat.std(0).clamp(min=1e-3)
    head.norm.weight.copy_(1.0 / spread)
    head.norm.bias.copy_(-flat.mean(0) / spread)
    head.fc1.weight.copy_(torch.randn(width, size, generator=generator) / size ** 0.5)
    head.fc1.bias.copy_(torch.randn(width, generator=generator))
    head.fc2.bias.copy_(actions.mean(0))
    features = functional.gelu(head.fc1(head.norm(hidden.float()))).double()
    for index in range(dim):
        design = features[:, index]
        normal = design.T @ design + ridge * count * torch.eye(width, dtype=torch.float64)
        target = design.T @ (actions[:, index].double() - head.fc2.bias[index].double())
        head.fc2.weight[index] = torch.linalg.solve(normal, target)
    return head.requires_grad_(False).eval()
