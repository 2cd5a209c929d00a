# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A LoRA adapter merged into its base: a whole checkpoint in the official layout."""

import json
from pathlib import Path
import shutil

from safetensors import safe_open
from safetensors.torch import save_file

from vla_ros.errors import CheckpointError
from vla_ros.errors import VlaError
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.model.checkpoint import with_adapter_statistics
from vla_ros.model.lora import merge_pair
from vla_ros.model.lora import read_adapter
from vla_ros.model.module_files import find_module_files
from vla_ros.model.weights import weight_files


def merge_into_checkpoint(adapter_folder: Path, base: str, out: Path) -> None:
    """
    Write the checkpoint that a base and an adapter make together.

    Weights are read and written one file at a time, in the type of the base. The statistics of the
    adapter's dataset join those of the base; heads that were trained with it are copied.

    :param base: folder or hub id of the checkpoint that the adapter was trained on.
    :param out: a new or an empty folder.
    :raises CheckpointError: base or adapter cannot be used, or they do not belong together.
    :raises VlaError: ``out`` holds files.
    """
    adapter = read_adapter(adapter_folder)
    checkpoint = with_adapter_statistics(open_checkpoint(base), {'merged': str(adapter_folder)})
    files = weight_files(checkpoint.folder)
    for key, pair in adapter.pairs.items():
        if key not in files:
            raise CheckpointError(adapter_folder, f'{key}: {base} has no such matrix, so this is '
                                                  'not the base of the adapter')
        with safe_open(files[key], 'pt') as stored:
            shape = stored.get_slice(key).get_shape()
        if shape != [pair.up.shape[0], pair.down.shape[1]]:
            raise CheckpointError(adapter_folder, f'{key}: the adapter makes a matrix of '
                                                  f'{[pair.up.shape[0], pair.down.shape[1]]}, '
                                                  f'{base} has {shape}')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VlaError(f'--out {out} holds files, which would be overwritten; give a new folder')
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(set(files.values())):
        with safe_open(path, 'pt') as stored:
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}
            metadata = stored.metadata()
        for key in tensors.keys() & adapter.pairs.keys():
            pair = adapter.pairs[key]
            tensors[key] = merge_pair(tensors[key], pair.down, pair.up, pair.scale)
        save_file(tensors, out / path.name, metadata)
    modules = find_module_files(adapter_folder)
    replaced = {path.name for name, path in find_module_files(checkpoint.folder).items()
                if name in modules}
    left_out = {path.name for path in files.values()} | replaced | {'README.md'}
    for path in (*checkpoint.folder.iterdir(), *modules.values()):
        if path.is_file() and (path.name not in left_out or path in modules.values()):
            shutil.copyfile(path, out / path.name)
    config = json.loads((out / 'config.json').read_text(encoding='utf-8'))
    for name, value in (('config.json', {**config, 'norm_stats': dict(checkpoint.norm_stats)}),
                        ('dataset_statistics.json', dict(checkpoint.norm_stats))):
        (out / name).write_text(json.dumps(value, indent=2) + '\n', encoding='utf-8')
