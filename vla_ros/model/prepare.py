# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What every kind of checkpoint needs before it is a policy: device, tokenizer, loaded weights."""

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
import logging
from pathlib import Path

import torch

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.actions import choose_dataset
from vla_ros.data.dataset_statistics import count_dimensions
from vla_ros.data.dataset_statistics import StatisticsError
from vla_ros.data.datasets import DatasetDescription
from vla_ros.data.datasets import load_datasets
from vla_ros.errors import CheckpointError
from vla_ros.errors import UnsupportedError
from vla_ros.model.attention import Attend
from vla_ros.model.attention import Attention
from vla_ros.model.attention import choose_attention
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.lora import Adapters
from vla_ros.model.lora import apply_adapters
from vla_ros.model.lora import read_adapter
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.quantize import check_quantization
from vla_ros.model.quantize import loading_device
from vla_ros.model.quantize import quantize
from vla_ros.model.threads import leave_a_core
from vla_ros.model.tokenizer import PromptTokenizer
from vla_ros.model.weights import build_network
from vla_ros.model.weights import load_weights
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """Where and in which precision a network runs."""

    device: torch.device
    dtype: torch.dtype
    attention: Attention


@dataclass(frozen=True)
class Dataset:
    """
    The dataset whose statistics scale the actions.

    :param statistics: its entry of ``norm_stats``.
    :param description: what its actions mean, None if it is not described.
    """

    unnorm_key: str
    statistics: Mapping
    description: DatasetDescription | None

    @property
    def period_s(self) -> float | None:
        """Seconds from one action to the next, None if not known."""
        return self.description.period_s if self.description else None

    def scale(self, part: str = 'action', normalization: str = 'bounds_q99',
              widening: float = 0.0) -> ActionStatistics:
        """
        Read the range of a part; see :meth:`vla_ros.data.actions.ActionStatistics.from_dataset`.

        :raises StatisticsError: it is missing, or makes no sense.
        """
        with self.named():
            return ActionStatistics.from_dataset(self.statistics, part, normalization, widening)

    def dimensions(self) -> int:
        """
        Count the numbers of an action, whichever of its bounds are there.

        :raises StatisticsError: there are none.
        """
        with self.named():
            return count_dimensions(self.statistics)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Add the name of the dataset to an error."""
        try:
            yield
        except StatisticsError as error:
            raise StatisticsError(f'unnorm_key {self.unnorm_key!r}: {error}') from None


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint whose network is loaded and ready to run."""

    checkpoint: Checkpoint
    machine: Machine
    dataset: Dataset
    network: OpenVlaNetwork
    tokenizer: PromptTokenizer
    adapters: Adapters

    def spec(self, config: PolicyConfig, action_shape: tuple[int, int],
             proprio_dim: int = 0) -> PolicySpec:
        """Describe the policy for logs and tools."""
        attention = self.machine.attention
        return PolicySpec(
            checkpoint=config.checkpoint, unnorm_key=self.dataset.unnorm_key,
            action_shape=action_shape, image_count=config.image_count, proprio_dim=proprio_dim,
            device=describe_device(self.machine.device),
            dtype=str(self.machine.dtype).removeprefix('torch.'), attention=attention.name,
            attention_reason=attention.reason, quantization=config.quantization,
            revision=self.checkpoint.revision)


def choose_machine(config: PolicyConfig) -> Machine:
    """
    Decide where to run.

    :raises UnsupportedError: this machine cannot run what was asked for.
    """
    device = choose_device(config.device)
    if device.type == 'cpu':
        leave_a_core()
    dtype = choose_dtype(config.dtype, device)
    check_quantization(config.quantization, device, dtype)
    attention = choose_attention(config.attention, device, dtype)
    _LOG.info('attention %s: %s', attention.name, attention.reason)
    return Machine(device, dtype, attention)


def find_statistics(config: PolicyConfig, checkpoint: Checkpoint) -> Dataset:
    """
    Find what scales the actions, and what they mean.

    :raises UnnormKeyError: the statistics asked for do not exist, or none was named of several.
    :raises DatasetError: the user's own descriptions cannot be read.
    """
    unnorm_key = choose_dataset(checkpoint.norm_stats, config.unnorm_key)
    description = load_datasets(config.datasets_file).get(unnorm_key)
    return Dataset(unnorm_key, checkpoint.norm_stats[unnorm_key], description)


def prepare(config: PolicyConfig, checkpoint: Checkpoint, machine: Machine, dataset: Dataset,
            bidirectional: bool = False) -> LoadedCheckpoint:
    """
    Load the weights.

    :param bidirectional: every position of the language model sees every other.
    :raises CheckpointError: something is missing, damaged or does not fit.
    """
    tokenizer = PromptTokenizer(checkpoint.folder,
                                checkpoint.config.language_model.bos_token_id)
    vocabulary = checkpoint.config.language_model.vocab_size
    if tokenizer.largest_id >= vocabulary:
        raise CheckpointError(
            checkpoint.folder, f'tokenizer.json has ids up to {tokenizer.largest_id}, config.json '
            f'has a vocab_size of {vocabulary}: they belong to different models')
    attend = machine.attention.attend
    if bidirectional:
        attend = attend_bidirectionally(attend)
    network = build_network(lambda: OpenVlaNetwork(checkpoint.config, attend),
                            loading_device(config.quantization, machine.device), machine.dtype,
                            checkpoint.folder)
    adapters = {name: read_adapter(Path(folder)) for name, folder in config.adapters.items()}
    load_weights(network, checkpoint.folder, config.progress)
    applied = apply_adapters(network, adapters, config.adapter)
    quantize(network, config.quantization, machine.device)
    return LoadedCheckpoint(checkpoint, machine, dataset, network, tokenizer, applied)


def attend_bidirectionally(attend: Attend) -> Attend:
    """Wrap an attention so that no position is hidden from any other."""
    return lambda query, key, value, causal: attend(query, key, value, False)


def choose_device(requested: str) -> torch.device:
    """
    Resolve ``auto``, ``cpu`` or ``cuda``.

    :raises UnsupportedError: CUDA was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if requested == 'cuda' and not available:
        raise UnsupportedError('device cuda', 'PyTorch finds no CUDA device',
                               'use cpu, or run vla_doctor to see what is missing')
    return torch.device('cuda' if available and requested != 'cpu' else 'cpu')


def choose_dtype(requested: str, device: torch.device) -> torch.dtype:
    """Resolve ``auto``: bfloat16, the official precision, except on a CPU, which emulates it."""
    if requested == 'auto':
        requested = 'bfloat16' if device.type == 'cuda' else 'float32'
    return {'float32': torch.float32, 'bfloat16': torch.bfloat16}[requested]


def describe_device(device: torch.device) -> str:
    """Name the GPU, or say ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu'
