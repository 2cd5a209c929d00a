# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The side files of a checkpoint folder: ``action_head--150000_checkpoint.pt`` and its like."""

from pathlib import Path
import pickle

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import nn
from torch import Tensor

from vla_ros.errors import CheckpointError
from vla_ros.model.skeleton import give_memory

#: Names of the parts that this runtime knows.
PARTS = ('action_head', 'proprio_projector', 'noisy_action_projector', 'vision_backbone',
         'residual_head')
_SUFFIXES = ('.pt', '.safetensors')


def find_parts(folder: Path) -> dict[str, Path]:
    """
    Find the file of each part that a folder has.

    :raises CheckpointError: a part has several files: nothing says which one is meant.
    """
    found = {}
    for part in PARTS:
        files = sorted(path for path in folder.glob(f'{part}--*') if path.suffix in _SUFFIXES)
        if len(files) > 1:
            names = ', '.join(path.name for path in files)
            raise CheckpointError(folder, f'{len(files)} files for {part}: {names}; keep one')
        if files:
            found[part] = files[0]
    return found


def read_part(path: Path) -> dict[str, Tensor]:
    """
    Read the tensors of a part, under the names they have without a training wrapper.

    :raises CheckpointError: the file is damaged, or holds anything but tensors.
    """
    try:
        if path.suffix == '.safetensors':
            stored = load_file(path)
        else:
            # .pt or .bin; weights_only: a pickle from the internet must not be able to run code.
            stored = torch.load(path, map_location='cpu', weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError,
            pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(path.parent, f'{path.name} cannot be read: {reason}') from None
    if not isinstance(stored, dict) or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in stored.items()):
        raise CheckpointError(path.parent, f'{path.name} must hold tensors by name')
    return {key.removeprefix('module.'): value for key, value in stored.items()}


def fill_module(module: nn.Module, tensors: dict[str, Tensor], path: Path, device: torch.device,
                dtype: torch.dtype) -> None:
    """
    Give a module its tensors and bring it to its device, ready for inference.

    :raises CheckpointError: tensors are missing, unknown or of another shape.
    """
    wanted = dict(module.named_parameters())
    for problem, keys in (('lacks', wanted.keys() - tensors.keys()),
                          ('has unknown', tensors.keys() - wanted.keys())):
        if keys:
            shown = ', '.join(sorted(keys)[:3])
            raise CheckpointError(path.parent, f'{path.name} {problem} {len(keys)} tensors: '
                                               f'{shown}')
    for name, parameter in wanted.items():
        if parameter.shape != tensors[name].shape:
            raise CheckpointError(
                path.parent, f'{path.name}: {name} has shape {tuple(tensors[name].shape)}, the '
                f'checkpoint makes it {tuple(parameter.shape)}')
    give_memory(module, device, dtype)
    for name, parameter in module.named_parameters():
        parameter.copy_(tensors[name])
