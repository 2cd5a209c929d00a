# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The checks of a checkpoint folder; the weights are measured, not loaded."""

from collections.abc import Callable
import json
from pathlib import Path
import struct

from vla_ros.doctor.finding import ERROR
from vla_ros.doctor.finding import Finding
from vla_ros.doctor.finding import OK
from vla_ros.doctor.finding import WARNING
from vla_ros.errors import CheckpointError
from vla_ros.errors import VlaError
from vla_ros.util.files import check_regular
from vla_ros.util.files import FileError
from vla_ros.util.files import MOST_TEXT

_INDEX = 'model.safetensors.index.json'


def check_checkpoint(location: str | Path, revision: str | None = None) -> list[Finding]:
    """
    Check everything in a checkpoint folder, or in what the cache has of a hub id.

    :param revision: commit, branch or tag of a hub id; None for what would be loaded.
    """
    try:
        from vla_ros.model.checkpoint import find_folder
        snapshot = find_folder(str(location), revision, may_download=False)
    except VlaError as error:
        return [Finding('checkpoint', ERROR, str(error), 'give the folder of a checkpoint, or a '
                        'hub id that is cached: nothing is downloaded for this')]
    except ImportError as error:
        return [Finding('checkpoint', WARNING, f'cannot be checked: {error}',
                        'see the modules above')]
    findings = [Finding('checkpoint', OK, f'{location}, commit {snapshot.commit}, cached in '
                        f'{snapshot.folder}')] if snapshot.commit else []
    return findings + [_attempt(subject, check, snapshot.folder)
                       for subject, check in _CHECKS.items()]


def _attempt(subject: str, check: Callable[[Path], str], folder: Path) -> Finding:
    """Run a check that raises what it finds wrong."""
    try:
        return Finding(subject, OK, check(folder))
    except VlaError as error:
        return Finding(subject, ERROR, str(error), 'copy or download the checkpoint again')
    except ImportError as error:
        return Finding(subject, WARNING, f'cannot be checked: {error}', 'see the modules above')


def _configuration(folder: Path) -> str:
    from vla_ros.model.config import read_config
    config = read_config(folder)
    towers = ' + '.join(f'{tower.depth} blocks at {tower.image_size} px'
                        for tower in config.towers)
    return (f'vision {towers}; Llama {config.language_model.num_hidden_layers} layers, '
            f'vocabulary {config.vocab_size}, {config.n_action_bins} action bins')


def _preprocessor(folder: Path) -> str:
    from vla_ros.model.checkpoint import read_image_processor
    processor = read_image_processor(folder)
    return ' + '.join('{}x{}'.format(*tower.crop[::-1]) for tower in processor.towers)


def _tokenizer(folder: Path) -> str:
    from vla_ros.model.config import read_config
    from vla_ros.model.tokenizer import PromptTokenizer
    tokenizer = PromptTokenizer(folder, read_config(folder).language_model.bos_token_id)
    return f'a short prompt has {len(tokenizer.encode("In: go?"))} tokens'


def _datasets(folder: Path) -> str:
    """Name the datasets, with how many numbers an action of each has."""
    from vla_ros.data.actions import ActionStatistics
    from vla_ros.data.dataset_statistics import count_dimensions
    from vla_ros.data.dataset_statistics import StatisticsError
    from vla_ros.model.checkpoint import read_norm_stats
    from vla_ros.model.config import read_config
    datasets = read_norm_stats(folder, read_config(folder))
    if not datasets:
        raise CheckpointError(folder, 'there are no action statistics: no unnorm_key can be used')
    for name, dataset in datasets.items():
        try:
            ActionStatistics.from_dataset(dataset)
        except StatisticsError as error:
            raise CheckpointError(folder, f'unnorm_key {name!r}: {error}') from None
    return ', '.join(f'{name} ({count_dimensions(dataset)})'
                     for name, dataset in sorted(datasets.items()))


def _weights(folder: Path) -> str:
    """Measure the weight files against their own headers and the index."""
    from vla_ros.model.shards import shards
    files = shards(folder)
    headers = {name: read_safetensors_header(folder / name) for name in files}
    for name, keys in files.items():
        missing = sorted(keys - headers[name].keys())
        if missing:
            raise CheckpointError(folder, f'{name} lacks {len(missing)} tensors that {_INDEX} '
                                  f'lists, {missing[0]} first')
    size = sum((folder / name).stat().st_size for name in files)
    types = sorted({tensor['dtype'] for header in headers.values() for tensor in header.values()})
    count = sum(map(len, headers.values()))
    return f'{len(files)} file(s), {size / 1e9:.3f} GB, {count} tensors, {", ".join(types)}'


def read_safetensors_header(path: Path) -> dict[str, dict]:
    """
    Read the header of a safetensors file and compare it with the file's size.

    :raises CheckpointError: the file is damaged or not all there.
    """
    try:
        size = check_regular(path)
    except FileError as error:
        raise CheckpointError(path.parent, f'{path.name} {error.problem}') from None
    with path.open('rb') as file:
        try:
            (length,) = struct.unpack('<Q', file.read(8))
            if length > min(size, MOST_TEXT):
                raise ValueError('its header is longer than the file, or than any header')
            header = json.loads(file.read(length))
            header.pop('__metadata__', None)
            end = max((tensor['data_offsets'][1] for tensor in header.values()), default=0)
        except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError,
                RecursionError) as error:
            raise CheckpointError(path.parent, f'{path.name} is damaged: {error}') from None
    expected = 8 + length + end
    if size != expected:
        raise CheckpointError(path.parent, f'{path.name} is truncated or damaged: it has {size} '
                              f'of {expected} bytes')
    return header


_CHECKS: dict[str, Callable[[Path], str]] = {
    'configuration': _configuration,
    'weights': _weights,
    'images': _preprocessor,
    'tokenizer': _tokenizer,
    'datasets': _datasets,
}
