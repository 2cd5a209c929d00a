# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From a checkpoint folder to a policy: which kind it is decides who loads it."""

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

from vla_ros.errors import CheckpointError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.model.checkpoint import with_adapter_statistics
from vla_ros.model.module_files import find_module_files
from vla_ros.model.oft import load_oft
from vla_ros.model.oft import OftPolicy
from vla_ros.model.openvla import load_openvla
from vla_ros.model.openvla import OpenVlaPolicy
from vla_ros.model.out_of_memory import explain_memory
from vla_ros.model.prepare import choose_machine
from vla_ros.model.prepare import Machine
from vla_ros.policy.config import PolicyConfig

Parts = Mapping[str, Path]
Loader = Callable[[PolicyConfig, Checkpoint, Machine, Parts], OpenVlaPolicy | OftPolicy]

# Any of these files in a folder makes it OpenVLA-OFT.
_OFT_PARTS = ('action_head', 'proprio_projector', 'noisy_action_projector', 'vision_backbone')
_LOADERS: dict[str, Loader] = {
    'tokens': load_openvla,
    'discrete': load_oft, 'l1': load_oft, 'diffusion': load_oft, 'oft': load_oft}


def load_checkpoint(config: PolicyConfig) -> OpenVlaPolicy | OftPolicy:
    """Load any checkpoint of the family; see :func:`vla_ros.policy.load.load_policy`."""
    config.progress(0.0, 'reading the checkpoint')
    # First: a download must not end in a message that this machine cannot run it.
    machine = choose_machine(config)
    checkpoint = with_adapter_statistics(open_checkpoint(config.checkpoint, config.revision),
                                         config.adapters)
    parts = find_module_files(checkpoint.folder)
    load = _LOADERS[_kind(config, checkpoint, parts)]
    with explain_memory(checkpoint.config, machine.device, machine.dtype):
        policy = load(config, checkpoint, machine, parts)
        if config.warmup:
            config.progress(1.0, 'warming up')
            policy.warm_up()
    return policy


def decodes_tokens(config: PolicyConfig) -> bool:
    """Return from a checkpoint's folder whether it gives one action, token by token."""
    checkpoint = with_adapter_statistics(open_checkpoint(config.checkpoint, config.revision),
                                         config.adapters)
    return _kind(config, checkpoint, find_module_files(checkpoint.folder)) == 'tokens'


def _kind(config: PolicyConfig, checkpoint: Checkpoint, parts: Parts) -> str:
    found = [part for part in _OFT_PARTS if part in parts]
    if config.head == 'auto':
        return 'oft' if found else 'tokens'
    if config.head == 'tokens' and found:
        raise CheckpointError(
            checkpoint.folder, f'{parts[found[0]].name} makes it OpenVLA-OFT, which does not '
            'decode token by token; use head auto')
    return config.head
