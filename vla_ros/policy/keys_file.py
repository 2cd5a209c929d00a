# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Reads the YAML files that say under which keys a policy of another project wants what.

Those that come with the package are in ``config/openpi/``, ``config/gr00t/`` and
``config/lerobot/``.
"""

import math
from pathlib import Path
from typing import Any

from vla_ros.errors import VlaError
from vla_ros.policy.observation_keys import FeatureMeaning
from vla_ros.policy.observation_keys import Key
from vla_ros.policy.observation_keys import LeRobotMeanings
from vla_ros.policy.observation_keys import ObservationKeys
from vla_ros.policy.observation_keys import shorten
from vla_ros.util.files import FileError
from vla_ros.util.files import read_text
from vla_ros.util.share import find_share
import yaml

LAYOUTS = ('hwc', 'chw')
_ENTRIES = {'images', 'image_layout', 'image_size', 'state', 'prompt', 'actions', 'dataset',
            'lerobot'}
_ACTION_ENTRIES = {'key', 'steps', 'dimensions', 'parts', 'binarize', 'clip', 'scale'}
_MOST = 1000


class KeysError(VlaError):
    """A file of keys that is missing or not valid."""


def load_client_keys(file: str, protocol: str) -> ObservationKeys:
    """
    Read a file of keys with the entries that a client needs.

    :raises KeysError: it is missing, not valid, or says nothing about the actions.
    """
    keys = load_keys(file, protocol)
    if not keys.steps or not keys.dataset:
        raise KeysError(f'keys file {file}: a client needs actions.steps, actions.dimensions and '
                        'dataset, too')
    return keys


def load_keys(file: str | Path, protocol: str = 'openpi') -> ObservationKeys:
    """
    Read a file of keys.

    :param file: path, or the name of one that comes with the package, such as ``pi05_droid``.
    :param protocol: whose folder holds that name.
    :raises KeysError: it is missing or not valid.
    """
    path = Path(file)
    if not path.suffix:
        path = find_share() / 'config' / protocol / f'{file}.yaml'
    try:
        content = yaml.safe_load(read_text(path, 2**20))
    except FileError as error:
        raise KeysError(f'keys file {path}: {error.problem}') from None
    except (yaml.YAMLError, RecursionError) as error:
        raise KeysError(f'keys file {path}: not YAML: {error}') from None
    try:
        return _read_keys(content)
    except KeysError as error:
        raise KeysError(f'keys file {path}: {error}') from None


def _read_keys(content: object) -> ObservationKeys:
    entries = _entries('the file', content, _ENTRIES, {'images', 'prompt', 'actions'})
    actions = _entries('actions', entries['actions'], _ACTION_ENTRIES, set())
    keys, lengths = _action_parts(actions)
    steps = _length('actions.steps', actions.get('steps')) if lengths or 'steps' in actions else 0
    dimensions = sum(lengths)
    images = entries['images']
    if not isinstance(images, list) or not images:
        raise KeysError(f'images: got {shorten(images)}, it must be a list of keys')
    layout = entries.get('image_layout', 'hwc')
    if layout not in LAYOUTS:
        raise KeysError(f'image_layout: got {shorten(layout)}, it must be one of '
                        f'{", ".join(LAYOUTS)}')
    clip = _numbers('actions.clip', actions.get('clip'), 2)
    if clip is not None and not clip[0] < clip[1]:
        raise KeysError(f'actions.clip: got {list(clip)}, the first must be below the second')
    scale = actions.get('scale')
    if scale is not None and not dimensions:
        raise KeysError('actions.scale: it needs actions.steps and actions.dimensions')
    dataset = entries.get('dataset', '')
    if not isinstance(dataset, str):
        raise KeysError(f'dataset: got {shorten(dataset)}, it must be a key of datasets.yaml')
    state, state_scale = _state(entries.get('state', []))
    return ObservationKeys(
        tuple(_key('images', key) for key in images), _key('prompt', entries['prompt']), keys,
        layout, _size(entries.get('image_size')), state, steps, lengths,
        _indices(actions.get('binarize', []), dimensions),
        clip,  # type: ignore[arg-type]
        _numbers('actions.scale', scale, dimensions), dataset, state_scale,
        _meanings(entries['lerobot']) if 'lerobot' in entries else None)


def _state(value: object) -> tuple[tuple[tuple[Key, int], ...], tuple[float, ...] | None]:
    """Return the parts of the state, and the factor of each number where a part has factors."""
    parts = _parts('state', value, 'scale')
    assert isinstance(value, list)
    factors: list[float] = []
    for (_, length), entry in zip(parts, value):
        scale = _numbers('state.scale', entry.get('scale'), length) or (1.0,) * length
        if 0.0 in scale:
            raise KeysError('state.scale: a factor of 0 says nothing about the robot')
        factors += scale
    return parts, tuple(factors) if set(factors) - {1.0} else None


def _meanings(value: object) -> LeRobotMeanings:
    entries = _entries('lerobot', value, {'semantics', 'features', 'artifact'},
                       {'semantics', 'features'})
    features = entries['features']
    if not isinstance(features, dict) or not features:
        raise KeysError(f'lerobot.features: got {shorten(features)}, it must have the keys of '
                        'images, state and actions')
    meanings = {}
    for key, feature in features.items():
        what = f'lerobot.features.{key}'
        feature = _entries(what, feature, {'semantics', 'names'}, {'semantics'})
        names = feature.get('names', [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise KeysError(f'{what}.names: got {shorten(names)}, it must be a list of names')
        meanings[key] = FeatureMeaning(_text(f'{what}.semantics', feature['semantics']),
                                       tuple(names))
    artifact = entries.get('artifact')
    return LeRobotMeanings(_text('lerobot.semantics', entries['semantics']), meanings,
                           '' if artifact is None else _text('lerobot.artifact', artifact))


def _text(what: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise KeysError(f'{what}: got {shorten(value)}, it must be a text')
    return value


def _action_parts(actions: dict[str, Any]) -> tuple[tuple[Key, ...], tuple[int, ...]]:
    """Return the keys of the arrays that make up an action, and the dimensions of each."""
    if ('key' in actions) == ('parts' in actions):
        raise KeysError('actions: they must have key, for one array, or parts, for several')
    if 'key' in actions:
        lengths = ((_length('actions.dimensions', actions.get('dimensions')),)
                   if 'steps' in actions or 'dimensions' in actions else ())
        return (_key('actions.key', actions['key']),), lengths
    parts = _parts('actions.parts', actions['parts'])
    if not parts or 'dimensions' in actions:
        raise KeysError('actions.parts: they must be a list of key and length, without dimensions')
    return tuple(key for key, _ in parts), tuple(length for _, length in parts)


def _parts(what: str, value: object, *more: str) -> tuple[tuple[Key, int], ...]:
    if not isinstance(value, list):
        raise KeysError(f'{what}: got {shorten(value)}, it must be a list of key and length')
    parts = [_entries(what, part, {'key', 'length', *more}, {'key', 'length'}) for part in value]
    return tuple((_key(what, part['key']), _length(f'{what}.length', part['length']))
                 for part in parts)


def _entries(what: str, value: object, known: set[str], wanted: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KeysError(f'{what}: got {shorten(value)}, it must have '
                        f'{", ".join(sorted(wanted or known))}')
    for name in value:
        if name not in known:
            raise KeysError(f'{what}: unknown entry {shorten(name)}; known are '
                            f'{", ".join(sorted(known))}')
    missing = sorted(wanted - value.keys())
    if missing:
        raise KeysError(f'{what}: {", ".join(missing)} is missing')
    return value


def _key(what: str, value: object) -> Key:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise KeysError(f'{what}: got {shorten(value)}, it must be a key, or a list of keys from '
                        'the outside in')
    return tuple(names)


def _length(what: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MOST:
        raise KeysError(f'{what}: got {shorten(value)}, it must be a whole number from 1 to '
                        f'{_MOST}')
    return value


def _size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise KeysError(f'image_size: got {shorten(value)}, it must be [height, width]')
    return _length('image_size', value[0]), _length('image_size', value[1])


def _indices(value: object, dimensions: int) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(
            type(index) is int and 0 <= index < dimensions for index in value):
        raise KeysError(f'actions.binarize: got {shorten(value)}, it must be a list of '
                        'dimensions, the first of which is 0')
    return tuple(value)


def _numbers(what: str, value: object, length: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != length or not all(
            type(number) in (int, float) and math.isfinite(number) for number in value):
        raise KeysError(f'{what}: got {shorten(value)}, it must be {length} finite numbers')
    return tuple(map(float, value))
