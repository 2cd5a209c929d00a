# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Files of additional modules in a checkpoint: ``action_head--150000_checkpoint.pt`` and so on."""

from pathlib import Path

from safetensors.torch import load_file
import torch
from torch import nn
from torch import Tensor

from vla_ros.errors import CheckpointError
from vla_ros.model.meta_device import materialize
from vla_ros.util.files import check_regular
from vla_ros.util.files import FileError

#: Names of the additional modules that this runtime knows.
MODULES = ('action_head', 'proprio_projector', 'noisy_action_projector', 'vision_backbone',
           'residual_head')
_SUFFIXES = ('.pt', '.safetensors')


def find_module_files(folder: Path) -> dict[str, Path]:
    """
    Find the file of each additional module in a folder.

    :raises CheckpointError: a module has several files.
    """
    found = {}
    for name in MODULES:
        files = sorted(path for path in folder.glob(f'{name}--*') if path.suffix in _SUFFIXES)
        if len(files) > 1:
            names = ', '.join(path.name for path in files)
            raise CheckpointError(folder, f'{len(files)} files for {name}: {names}; keep one')
        if files:
            found[name] = files[0]
    return found


def read_module_file(path: Path) -> dict[str, Tensor]:
    """
    Read the tensors of a module file, without the prefix of a training wrapper.

    :raises CheckpointError: the file is damaged, or holds anything but tensors.
    """
    try:
        check_regular(path)
        if path.suffix == '.safetensors':
            stored = load_file(path)
        else:
            # .pt or .bin; weights_only: a pickle from the internet must not be able to run code.
            stored = torch.load(path, map_location='cpu', weights_only=True)
    except FileError as error:
        raise CheckpointError(path.parent, f'{path.name} {error.problem}') from None
    except Exception as error:  # a damaged pickle raises whatever its pieces happen to raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(path.parent, f'{path.name} cannot be read: {reason}') from None
    if not isinstance(stored, dict) or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in stored.items()):
        raise CheckpointError(path.parent, f'{path.name} must hold tensors by name')
    return {key.removeprefix('module.'): value for key, value in stored.items()}


def load_module(module: nn.Module, tensors: dict[str, Tensor], path: Path, device: torch.device,
                dtype: torch.dtype) -> None:
    """
    Allocate a module on its device, copy its tensors, and switch it to inference.

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
        if not tensors[name].is_floating_point():
            raise CheckpointError(
                path.parent, f'{path.name}: {name} is stored as {tensors[name].dtype}; only '
                'floating point weights are loaded')
        if parameter.shape != tensors[name].shape:
            raise CheckpointError(
                path.parent, f'{path.name}: {name} has shape {tuple(tensors[name].shape)}, the '
                f'checkpoint makes it {tuple(parameter.shape)}')
    materialize(module, device, dtype)
    for name, parameter in module.named_parameters():
        parameter.copy_(tensors[name])
