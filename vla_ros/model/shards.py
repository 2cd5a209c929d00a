# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Which files hold the weights of a folder; needs no torch."""

import os
from pathlib import Path
import re
import reprlib

from vla_ros.errors import CheckpointError
from vla_ros.model.config import read_json

#: Name of the file that says which tensor is in which shard.
INDEX = 'model.safetensors.index.json'
_SINGLE = 'model.safetensors'
_SHARD = re.compile(r'[^/\\\x00-\x1f]{1,200}\.safetensors')


def shards(folder: Path) -> dict[str, set[str]]:
    """
    Name the weight files of a folder, each with the tensors that the index expects in it.

    :raises CheckpointError: there are none, or the index names what no shard can be.
    """
    if os.path.lexists(folder / INDEX):
        return _read_index(folder)
    if os.path.lexists(folder / _SINGLE):
        return {_SINGLE: set()}
    raise CheckpointError(
        folder, f'no {_SINGLE} and no {INDEX}; weights in other formats are not loaded')


def _read_index(folder: Path) -> dict[str, set[str]]:
    weight_map = read_json(folder / INDEX).get('weight_map')
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(folder, f'{INDEX} holds no weight_map: file names by tensor')
    names: dict[str, set[str]] = {}
    for key, name in weight_map.items():
        # A shard is a file of this folder: an index must not reach for any other.
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise CheckpointError(
                folder, f'{INDEX} says that {reprlib.repr(key)} is in {reprlib.repr(name)}; it '
                'must be the name of a .safetensors file of this folder')
        names.setdefault(name, set()).add(key)
    missing = sorted(name for name in names if not os.path.lexists(folder / name))
    if missing:
        more = f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''
        raise CheckpointError(folder, f'{missing[0]} is missing{more}, though {INDEX} lists it')
    return dict(sorted(names.items()))
