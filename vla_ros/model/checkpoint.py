# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Find a checkpoint and read everything in it but the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
import os
from pathlib import Path

from vla_ros.data.dataset_statistics import lacks_dataset_level
from vla_ros.data.preprocess import ImageProcessor
from vla_ros.data.preprocess import PreprocessorError
from vla_ros.errors import CheckpointError
from vla_ros.errors import ParameterError
from vla_ros.model.config import OpenVlaConfig
from vla_ros.model.config import read_config
from vla_ros.model.config import read_json
from vla_ros.model.hub import find_snapshot
from vla_ros.model.hub import Snapshot

_STATISTICS = 'dataset_statistics.json'
# transformers 4 writes the first, transformers 5 the second, with all processors in one file.
_PREPROCESSOR = 'preprocessor_config.json'
_PROCESSOR = 'processor_config.json'


@dataclass(frozen=True)
class Checkpoint:
    """
    A checkpoint folder, read and checked, weights excepted.

    :param revision: commit of the hub that it is; empty for a folder of the user's.
    """

    folder: Path
    name: str
    config: OpenVlaConfig
    image_processor: ImageProcessor
    norm_stats: Mapping[str, Mapping]
    revision: str = ''


def open_checkpoint(location: str, revision: str | None = None) -> Checkpoint:
    """
    Open a folder, or a hub id ``owner/name`` that is cached or can be downloaded.

    :param revision: commit, branch or tag of a hub id; None for the one that is cached.
    :raises CheckpointError: there is no such checkpoint, or it is not usable.
    :raises ParameterError: a folder has no revisions.
    """
    snapshot = find_folder(location, revision)
    folder = snapshot.folder
    config = read_config(folder)
    processor = read_image_processor(folder)
    if len(processor.towers) != len(config.towers):
        raise CheckpointError(
            folder, f'preprocessor_config.json describes {len(processor.towers)} towers, '
            f'config.json {len(config.towers)}')
    for tower, transform in zip(config.towers, processor.towers):
        if transform.crop != (tower.image_size, tower.image_size):
            raise CheckpointError(
                folder, f'preprocessor_config.json makes images of {transform.crop}, '
                f'config.json wants {tower.image_size} pixels a side')
    return Checkpoint(folder, location, config, processor, read_norm_stats(folder, config),
                      snapshot.commit)


def find_folder(location: str, revision: str | None = None,
                may_download: bool = True) -> Snapshot:
    """
    Find the folder of a checkpoint.

    :param may_download: False to use only the cache for a hub id.
    :returns: the folder, and the commit of a hub id; the latter is empty for a folder.
    :raises CheckpointError: there is none.
    :raises ParameterError: a folder has no revisions.
    """
    folder = Path(location).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ParameterError('revision', revision, 'empty: the checkpoint is a folder, which '
                                                       'has no revisions')
        return Snapshot(folder, '')
    if os.path.lexists(folder):
        raise CheckpointError(location, 'is not a folder; give the folder of a checkpoint')
    parts = location.split('/')
    if len(parts) != 2 or not all(parts) or location.startswith(('.', '~')):
        raise CheckpointError(location, 'no such folder (and not a hub id owner/name)')
    return find_snapshot(location, revision, may_download)


def read_image_processor(folder: Path) -> ImageProcessor:
    """
    Read how images are made ready, in the form of transformers 4 or of transformers 5.

    :raises CheckpointError: there is no such file, it cannot be used, or two of them disagree.
    """
    described = {}
    if os.path.lexists(folder / _PREPROCESSOR):
        described[_PREPROCESSOR] = read_json(folder / _PREPROCESSOR)
    if os.path.lexists(folder / _PROCESSOR):
        nested = read_json(folder / _PROCESSOR).get('image_processor')
        if isinstance(nested, dict):
            described[_PROCESSOR] = nested
        elif not described or nested is not None:
            raise CheckpointError(folder, f'{_PROCESSOR} holds no image_processor, and '
                                          f'{_PREPROCESSOR} is missing' if nested is None else
                                  f'{_PROCESSOR}: image_processor must be an object')
    if not described:
        raise CheckpointError(folder, f'{_PREPROCESSOR} is missing (and {_PROCESSOR}, which '
                                      'transformers 5 writes instead)')
    try:
        processors = [ImageProcessor.from_config(config, name)
                      for name, config in described.items()]
    except PreprocessorError as error:
        raise CheckpointError(folder, str(error)) from None
    if processors[0] != processors[-1]:
        raise CheckpointError(folder, f'{_PREPROCESSOR} and {_PROCESSOR} describe different '
                                      'images; remove the one that is out of date')
    return processors[0]


def read_norm_stats(folder: Path, config: OpenVlaConfig) -> Mapping[str, Mapping]:
    """
    Read the statistics by dataset: those beside the config, else those in it.

    A fine-tuned checkpoint brings its own file beside the config that it inherited.

    :raises CheckpointError: they cannot be read, or lack a level.
    """
    if not os.path.lexists(folder / _STATISTICS):
        return _check_levels(folder, 'norm_stats of config.json', config.norm_stats)
    inherited = ''
    if config.norm_stats:
        names = ', '.join(sorted(config.norm_stats)[:5])
        inherited = f'; to use norm_stats of config.json instead ({names}) remove it'
    return _read_statistics(folder, inherited)


def _read_statistics(folder: Path, otherwise: str) -> Mapping[str, Mapping]:
    """
    Read dataset_statistics.json.

    :param otherwise: what to do where it cannot be used, as the end of an error's sentence.
    """
    try:
        stats = read_json(folder / _STATISTICS)
    except CheckpointError as error:
        raise CheckpointError(folder, error.problem + otherwise) from None
    if not stats:
        raise CheckpointError(folder, f'{_STATISTICS} holds no dataset{otherwise}')
    return _check_levels(folder, _STATISTICS, stats)


def _check_levels(folder: Path, name: str, stats: Mapping) -> Mapping[str, Mapping]:
    if lacks_dataset_level(stats):
        raise CheckpointError(
            folder, f'{name} begins with the statistics of one dataset ({", ".join(stats)}); put '
            'them one level down, under the name of the dataset: {"my_dataset": {"action": …}}')
    return stats


def with_adapter_statistics(checkpoint: Checkpoint, adapters: Mapping[str, str]) -> Checkpoint:
    """
    Add the datasets that adapters were trained on, where their folders name them.

    :raises CheckpointError: such a file cannot be used.
    """
    stats = dict(checkpoint.norm_stats)
    for name in adapters.values():
        folder = Path(name)
        if os.path.lexists(folder / _STATISTICS):
            stats |= _read_statistics(folder, '; to use those of the checkpoint remove it')
    return replace(checkpoint, norm_stats=stats)
