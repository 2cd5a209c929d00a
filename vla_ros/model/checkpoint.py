# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Find a checkpoint and read everything in it but the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

from vla_ros.errors import CheckpointError
from vla_ros.model.config import OpenVlaConfig
from vla_ros.model.config import read_config
from vla_ros.model.config import read_json
from vla_ros.preprocess import ImageProcessor

_HUB_FILES = ['*.json', '*.safetensors', '*.model', '*.pt']


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder, read and checked, weights excepted."""

    folder: Path
    name: str
    config: OpenVlaConfig
    image_processor: ImageProcessor
    norm_stats: Mapping[str, Mapping]


def open_checkpoint(location: str) -> Checkpoint:
    """
    Open a folder, or a hub id ``owner/name`` that is cached or can be downloaded.

    :raises CheckpointError: there is no such checkpoint, or it is not usable.
    """
    folder = _resolve(location)
    config = read_config(folder)
    processor = ImageProcessor.from_config(read_json(folder / 'preprocessor_config.json'))
    if len(processor.towers) != len(config.towers):
        raise CheckpointError(
            folder, f'preprocessor_config.json describes {len(processor.towers)} towers, '
            f'config.json {len(config.towers)}')
    for tower, transform in zip(config.towers, processor.towers):
        if transform.crop != (tower.image_size, tower.image_size):
            raise CheckpointError(
                folder, f'preprocessor_config.json makes images of {transform.crop}, '
                f'config.json wants {tower.image_size} pixels a side')
    # A fine-tuned checkpoint brings its own statistics beside the config it inherited.
    statistics = folder / 'dataset_statistics.json'
    norm_stats = read_json(statistics) if statistics.is_file() else config.norm_stats
    return Checkpoint(folder, location, config, processor, norm_stats)


def with_adapter_statistics(checkpoint: Checkpoint, adapters: Mapping[str, str]) -> Checkpoint:
    """Add the datasets that adapters were trained on, where their folders tell of them."""
    stats = dict(checkpoint.norm_stats)
    for folder in adapters.values():
        path = Path(folder) / 'dataset_statistics.json'
        if path.is_file():
            stats |= read_json(path)
    return replace(checkpoint, norm_stats=stats)


def _resolve(location: str) -> Path:
    folder = Path(location).expanduser()
    if folder.is_dir():
        return folder
    parts = location.split('/')
    if folder.exists() or len(parts) != 2 or not all(parts) or location.startswith(('.', '~')):
        raise CheckpointError(location, 'no such folder (and not a hub id owner/name)')
    return _from_hub(location)


def _from_hub(repository: str) -> Path:
    # Only here: a folder needs neither the import (0.3 s) nor the network.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.errors import HFValidationError
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except HFValidationError as error:
        raise CheckpointError(repository, f'no such folder, and not a hub id: {error}') from None
    except LocalEntryNotFoundError:
        pass  # not cached yet
    try:
        return Path(snapshot_download(repository, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            repository, f'no such folder, not in the local cache, and not downloadable: {reason}'
        ) from None
