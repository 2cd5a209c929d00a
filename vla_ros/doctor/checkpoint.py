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

_INDEX = 'model.safetensors.index.json'


def check_checkpoint(folder: Path) -> list[Finding]:
    """Check everything in a checkpoint folder."""
    if not folder.is_dir():
        return [Finding('checkpoint', ERROR, f'{folder} is not a folder',
                        'give the folder of a checkpoint; a hub id is not downloaded for this')]
    return [_attempt(subject, check, folder) for subject, check in _CHECKS.items()]


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
    from vla_ros.model.config import read_json
    from vla_ros.preprocess import ImageProcessor
    processor = ImageProcessor.from_config(read_json(folder / 'preprocessor_config.json'))
    return ' + '.join('{}x{}'.format(*tower.crop[::-1]) for tower in processor.towers)


def _tokenizer(folder: Path) -> str:
    from vla_ros.model.config import read_config
    from vla_ros.model.tokenizer import PromptTokenizer
    tokenizer = PromptTokenizer(folder, read_config(folder).language_model.bos_token_id)
    return f'a short prompt has {len(tokenizer.encode("In: go?"))} tokens'


def _datasets(folder: Path) -> str:
    """Name the datasets, with how many numbers an action of each has."""
    from vla_ros.actions import ActionStatistics
    from vla_ros.model.config import read_config
    from vla_ros.model.config import read_json
    own = folder / 'dataset_statistics.json'
    datasets = read_json(own) if own.is_file() else read_config(folder).norm_stats
    if not datasets:
        raise CheckpointError(folder, 'there are no action statistics: no unnorm_key can be used')
    return ', '.join(f'{name} ({ActionStatistics.from_dataset(dataset).dim})'
                     for name, dataset in sorted(datasets.items()))


def _weights(folder: Path) -> str:
    """Measure the weight files against their own headers and the index."""
    files = _weight_files(folder)
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


def _weight_files(folder: Path) -> dict[str, set[str]]:
    """Name the weight files, and the tensors that the index expects in each."""
    from vla_ros.model.config import read_json
    if not (folder / _INDEX).is_file():
        if not (folder / 'model.safetensors').is_file():
            raise CheckpointError(folder, f'neither model.safetensors nor {_INDEX} is there')
        return {'model.safetensors': set()}
    files: dict[str, set[str]] = {}
    for key, name in (read_json(folder / _INDEX).get('weight_map') or {}).items():
        files.setdefault(name, set()).add(key)
    missing = sorted(name for name in files if not (folder / name).is_file())
    if missing or not files:
        raise CheckpointError(folder, f'{len(missing)} of {len(files)} weight files are missing: '
                              f'{", ".join(missing)}')
    return files


def read_safetensors_header(path: Path) -> dict[str, dict]:
    """
    Read what a safetensors file says it holds, by tensor, and compare it with the file's size.

    :raises CheckpointError: the file is damaged or not all there.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        try:
            (length,) = struct.unpack('<Q', file.read(8))
            if length > size:
                raise ValueError('its header is longer than the file')
            header = json.loads(file.read(length))
            header.pop('__metadata__', None)
            end = max((tensor['data_offsets'][1] for tensor in header.values()), default=0)
        except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
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
