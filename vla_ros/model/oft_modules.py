# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The modules of OpenVLA-OFT beside the language model, and the sizes and statistics of its chunks.

Source of the layout: moojink/openvla-oft keeps each module in a file of its own, such as
``action_head--150000_checkpoint.pt``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import logging
from pathlib import Path

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.dataset_statistics import count_dimensions
from vla_ros.data.dataset_statistics import StatisticsError
from vla_ros.data.platforms import chunk_length
from vla_ros.data.platforms import find_platform
from vla_ros.data.platforms import normalization
from vla_ros.errors import CheckpointError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.heads import load_action_head
from vla_ros.model.heads import load_projector
from vla_ros.model.heads import MlpResNet
from vla_ros.model.heads import Projector
from vla_ros.model.lora import read_adapter
from vla_ros.model.prepare import Dataset
from vla_ros.model.prepare import Machine
from vla_ros.policy.config import PolicyConfig

_LOG = logging.getLogger(__name__)

# OFT widens every range by this (modeling_prismatic.py, openvla_utils.py).
_WIDENING = 1e-8


@dataclass(frozen=True)
class OftModules:
    """
    The modules of OpenVLA-OFT beside the language model.

    :param kind: ``l1``, ``diffusion`` or ``discrete`` (no head: the language model's own).
    """

    kind: str
    head: MlpResNet | None = None
    proprio: Projector | None = None
    noisy_action: Projector | None = None


@dataclass(frozen=True)
class ChunkStatistics:
    """Sizes and statistics of a chunk and of the state that goes with it."""

    chunk_length: int
    action: ActionStatistics
    proprio: ActionStatistics | None


def check_adapters(adapters: Mapping[str, str], path: Path) -> None:
    """
    Refuse an adapter that changes matrices of the vision towers.

    The module file of the towers holds their whole weights after its own training. An adapter's
    pairs for them would be lost, or, if they come from the same training, would count twice.

    :param adapters: folders of LoRA adapters, by name.
    :param path: the module file of the vision towers.
    :raises CheckpointError: an adapter has pairs for a vision tower.
    """
    for folder in adapters.values():
        adapter = read_adapter(Path(folder))
        touched = [key for key in adapter.pairs if key.startswith('vision_backbone.')]
        if touched:
            raise CheckpointError(
                folder, f'it changes {len(touched)} matrices of the vision towers, {touched[0]} '
                f'first, whose weights come from {path.name}; use an adapter without pairs for '
                'vision_backbone: train it without them, or delete them from its file')


def load_modules(config: PolicyConfig, checkpoint: Checkpoint, files: Mapping[str, Path],
                 machine: Machine) -> OftModules:
    """
    Load the action head and the projectors.

    :param files: the files of single modules, by the module's name.
    :raises CheckpointError: a file that the chosen head needs is missing, or of another kind.
    """
    hidden = checkpoint.config.language_model.hidden_size
    layout = (hidden, machine.device, machine.dtype)
    proprio = None
    if 'proprio_projector' in files and config.use_proprio:
        proprio = load_projector(files['proprio_projector'], *layout)
    elif 'proprio_projector' in files:
        _LOG.warning('the checkpoint was trained with the state of the robot, none is used')
    if config.head == 'discrete' or 'action_head' not in files:
        if config.head in ('l1', 'diffusion'):
            raise CheckpointError(checkpoint.folder, 'there is no action_head--* file for head '
                                                     f'{config.head}')
        return OftModules('discrete', proprio=proprio)
    kind, head = load_action_head(files['action_head'], *layout)
    if config.head not in ('auto', kind):
        raise CheckpointError(checkpoint.folder, f'{files["action_head"].name} is of kind {kind}, '
                                                 f'not {config.head}')
    noisy_action = None
    if kind == 'diffusion':
        if 'noisy_action_projector' not in files:
            raise CheckpointError(checkpoint.folder, 'the diffusion head needs a '
                                                     'noisy_action_projector--* file')
        noisy_action = load_projector(files['noisy_action_projector'], *layout)
    return OftModules(kind, head, proprio, noisy_action)


def find_chunk_statistics(config: PolicyConfig, checkpoint: Checkpoint, dataset: Dataset,
                          modules: OftModules) -> ChunkStatistics:
    """
    Find chunk length and statistics; see :mod:`vla_ros.data.platforms`.

    :raises CheckpointError: a module and the statistics differ in their number of dimensions.
    :raises ParameterError: the chunk length must be declared.
    """
    action_dim = dataset.dimensions()
    proprio_dim = _proprio_dim(dataset, modules)
    platform = find_platform(dataset.unnorm_key, action_dim, proprio_dim)
    scheme = normalization(platform, dataset.description)
    action = dataset.scale('action', scheme, _WIDENING)
    if modules.head is not None and modules.head.fc2.out_features != action.dim:
        raise CheckpointError(
            checkpoint.folder, f'the action head gives {modules.head.fc2.out_features} numbers, '
            f'the statistics of {dataset.unnorm_key} have {action.dim}')
    proprio = None
    if modules.proprio is not None:
        proprio = dataset.scale('proprio', scheme, _WIDENING)
        if modules.proprio.fc1.in_features != proprio.dim:
            raise CheckpointError(
                checkpoint.folder, f'the projector takes a state of '
                f'{modules.proprio.fc1.in_features} numbers, the statistics of '
                f'{dataset.unnorm_key} have {proprio.dim}')
    length = chunk_length(config.chunk_length, platform, action.dim, proprio_dim)
    return ChunkStatistics(length, action, proprio)


def _proprio_dim(dataset: Dataset, modules: OftModules) -> int | None:
    if modules.proprio is not None:
        return modules.proprio.fc1.in_features
    try:
        return count_dimensions(dataset.statistics, 'proprio')
    except StatisticsError:
        return None  # none is needed: there is no projector for a state
