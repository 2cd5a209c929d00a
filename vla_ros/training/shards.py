# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Samples on disk, in files that are written atomically."""

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.data.lerobot_metadata import DatasetError
from vla_ros.data.preprocess import TowerTransform
from vla_ros.training.samples import make_sampler
from vla_ros.training.samples import Samples

_SHARD = 500


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a ``.npz`` file atomically."""
    unfinished = path.with_suffix('.unfinished.npz')
    np.savez(unfinished, **arrays)
    unfinished.replace(path)


def draw_samples(folder: Path, count: int, transform: TowerTransform,
                 report: Callable[[int], None]) -> Samples:
    """
    Draw the samples of the seeds 0 to ``count``, or read the files of an earlier call.

    :raises DatasetError: a file holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sampler = None
    parts = []
    for start in range(0, count, _SHARD):
        path = folder / f'part_{start // _SHARD:03d}.npz'
        if not path.is_file():
            sampler = sampler or make_sampler(transform)
            drawn = Samples.join(list(sampler.draw_many(range(start, start + _SHARD))))
            save_arrays(path, vars(drawn))
        with np.load(path) as stored:
            missing = set(Samples.__dataclass_fields__) - set(stored)
            if missing:
                raise DatasetError(folder, f'{path.name} has no {", ".join(sorted(missing))}: it '
                                           'is of an earlier version; delete the folder or give '
                                           'another one, and the samples are drawn again')
            parts.append(Samples(**stored))
        report(min(count, start + _SHARD))
    return Samples.join(parts)
