# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Under which keys openpi's policies want images, state and prompt, and what their actions are.

Each openpi policy has keys of its own. A YAML file says which, see ``config/openpi/``; the client
writes an observation by it, and ``vla_serve --protocol openpi`` reads one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.errors import ObservationError
from vla_ros.errors import VlaError
from vla_ros.policy.base import Observation
from vla_ros.util.files import FileError
from vla_ros.util.files import read_text
from vla_ros.util.share import find_share
import yaml

#: A key, or the keys from the outside in where maps are nested.
Key = tuple[str, ...]

LAYOUTS = ('hwc', 'chw')
_ENTRIES = {'images', 'image_layout', 'image_size', 'state', 'prompt', 'actions', 'dataset'}
_ACTION_ENTRIES = {'key', 'steps', 'dimensions', 'binarize', 'clip', 'scale'}
_MOST = 1000


class KeysError(VlaError):
    """A file of keys that is missing or not valid."""


class ActionsError(VlaError):
    """Actions that are not what the file of keys says."""


@dataclass(frozen=True)
class ObservationKeys:
    """
    The keys of one openpi policy.

    :param images: of each camera, the main one first.
    :param image_layout: ``hwc``, (height, width, 3), or ``chw``, (3, height, width).
    :param image_size: (height, width) that images are brought to, as openpi's clients do; None:
        they are sent as they are.
    :param state: keys of the state's parts and the length of each, in the order of the state.
    :param actions: key of the actions in a reply.
    :param action_shape: (T, D) of the actions; None where only a server reads the file.
    :param binarize: dimensions of which a number above 0.5 becomes 1 and any other one 0.
    :param clip: limits of every number of an action, before it is scaled; None: none.
    :param scale: factor of each dimension, from the policy's units to those of the dataset.
    :param dataset: key of ``config/datasets.yaml`` that says what the scaled actions mean.
    """

    images: tuple[Key, ...]
    prompt: Key
    actions: Key
    image_layout: str = 'hwc'
    image_size: tuple[int, int] | None = None
    state: tuple[tuple[Key, int], ...] = ()
    action_shape: tuple[int, int] | None = None
    binarize: tuple[int, ...] = ()
    clip: tuple[float, float] | None = None
    scale: tuple[float, ...] | None = None
    dataset: str = ''

    @property
    def state_length(self) -> int:
        """Numbers of the state."""
        return sum(length for _, length in self.state)

    def pack(self, observation: Observation) -> dict[str, Any]:
        """
        Write an observation.

        :raises ObservationError: it has other cameras, or another state.
        """
        if len(observation.images) != len(self.images):
            raise ObservationError(f'observation: {len(observation.images)} images, the file of '
                                   f'keys has {len(self.images)}')
        packed: dict[str, Any] = {}
        for key, image in zip(self.images, observation.images):
            _put(packed, key, self._pack_image(image))
        state = observation.proprio
        if self.state and (state is None or state.shape != (self.state_length,)):
            raise ObservationError('observation: the state is '
                                   f'{None if state is None else state.shape}, the file of keys '
                                   f'has {self.state_length} numbers')
        start = 0
        for key, length in self.state:
            assert state is not None
            _put(packed, key, state[start:start + length])
            start += length
        _put(packed, self.prompt, observation.instruction)
        return packed

    def unpack(self, message: object, image_count: int, state_length: int) -> Observation:
        """
        Read an observation.

        :param image_count: images that the policy wants, of which the first of the file are read.
        :param state_length: numbers of state that it wants; 0: the state is not read.
        :raises ObservationError: something is missing, or not what the file says.
        """
        images = tuple(self._unpack_image(key, _get(message, key))
                       for key in self.images[:image_count])
        prompt = _get(message, self.prompt)
        if isinstance(prompt, bytes):
            prompt = prompt.decode('utf-8', 'replace')
        if not isinstance(prompt, str):
            raise ObservationError(f'{"/".join(self.prompt)}: got {_short(prompt)}, it must be a '
                                   'string')
        state = None
        if state_length:
            state = np.concatenate([_unpack_state(key, length, _get(message, key))
                                    for key, length in self.state])
        return Observation(images, prompt, state)

    def read_actions(self, reply: object) -> np.ndarray:
        """
        Read the actions of a reply, in the units of the dataset; nothing of it is believed.

        :returns: float64 (T, D).
        :raises ActionsError: they are missing, of another shape or type, or not finite.
        """
        name = '/'.join(self.actions)
        try:
            value = _get(reply, self.actions)
        except ObservationError as error:
            raise ActionsError(str(error)) from None
        if not isinstance(value, np.ndarray) or value.dtype.kind != 'f':
            kind = value.dtype if isinstance(value, np.ndarray) else _short(value)
            raise ActionsError(f'{name}: got {kind}, they must be an array of floating-point '
                               'numbers')
        if value.shape != self.action_shape:
            raise ActionsError(f'{name}: got shape {value.shape}, the file of keys has '
                               f'{self.action_shape}')
        if not np.isfinite(value).all():
            raise ActionsError(f'{name}: a number is not finite')
        actions: np.ndarray = value.astype(np.float64)
        if self.binarize:
            actions[:, self.binarize] = actions[:, self.binarize] > 0.5
        if self.clip is not None:
            actions = np.clip(actions, *self.clip)
        return actions if self.scale is None else actions * self.scale

    def _pack_image(self, image: np.ndarray) -> np.ndarray:
        if self.image_size is not None:
            image = resize_with_pad(image, *self.image_size)
        return image.transpose(2, 0, 1) if self.image_layout == 'chw' else image

    def _unpack_image(self, key: Key, value: object) -> np.ndarray:
        """Return uint8 (H, W, 3)."""
        axis = 0 if self.image_layout == 'chw' else 2
        if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 3 \
                or value.shape[axis] != 3 or not value.size:
            kind = (f'{value.dtype} {value.shape}' if isinstance(value, np.ndarray)
                    else _short(value))
            wanted = '(3, height, width)' if axis == 0 else '(height, width, 3)'
            raise ObservationError(f'{"/".join(key)}: got {kind}, it must be an array of uint8 '
                                   f'{wanted}')
        return value.transpose(1, 2, 0) if axis == 0 else value


def resize_with_pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """
    Bring an image to a size without distortion, as ``image_tools`` of openpi's client does.

    :param image: uint8 (H, W, 3).
    :returns: uint8 (height, width, 3), black where the image does not reach.
    """
    if image.shape[:2] == (height, width):
        return image
    ratio = max(image.shape[1] / width, image.shape[0] / height)
    size = int(image.shape[1] / ratio), int(image.shape[0] / ratio)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    padded: np.ndarray = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    padded[top:top + size[1], left:left + size[0]] = resized
    return padded


def load_keys(file: str | Path) -> ObservationKeys:
    """
    Read a file of keys.

    :param file: path, or the name of one that comes with the package, such as ``pi05_droid``.
    :raises KeysError: it is missing or not valid.
    """
    path = Path(file)
    if not path.suffix:
        path = find_share() / 'config' / 'openpi' / f'{file}.yaml'
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
    actions = _entries('actions', entries['actions'], _ACTION_ENTRIES, {'key'})
    shape = None
    if 'steps' in actions or 'dimensions' in actions:
        shape = (_length('actions.steps', actions.get('steps')),
                 _length('actions.dimensions', actions.get('dimensions')))
    images = entries['images']
    if not isinstance(images, list) or not images:
        raise KeysError(f'images: got {_short(images)}, it must be a list of keys')
    layout = entries.get('image_layout', 'hwc')
    if layout not in LAYOUTS:
        raise KeysError(f'image_layout: got {_short(layout)}, it must be one of '
                        f'{", ".join(LAYOUTS)}')
    clip = _numbers('actions.clip', actions.get('clip'), 2)
    if clip is not None and not clip[0] < clip[1]:
        raise KeysError(f'actions.clip: got {list(clip)}, the first must be below the second')
    scale = actions.get('scale')
    if scale is not None and shape is None:
        raise KeysError('actions.scale: it needs actions.steps and actions.dimensions')
    dataset = entries.get('dataset', '')
    if not isinstance(dataset, str):
        raise KeysError(f'dataset: got {_short(dataset)}, it must be a key of datasets.yaml')
    return ObservationKeys(
        tuple(_key('images', key) for key in images), _key('prompt', entries['prompt']),
        _key('actions.key', actions['key']), layout, _size(entries.get('image_size')),
        _state(entries.get('state', [])), shape, _indices(actions.get('binarize', []), shape),
        clip,  # type: ignore[arg-type]
        _numbers('actions.scale', scale, shape[1] if shape else 0), dataset)


def _state(value: object) -> tuple[tuple[Key, int], ...]:
    if not isinstance(value, list):
        raise KeysError(f'state: got {_short(value)}, it must be a list of key and length')
    parts = [_entries('state', part, {'key', 'length'}, {'key', 'length'}) for part in value]
    return tuple((_key('state', part['key']), _length('state.length', part['length']))
                 for part in parts)


def _entries(what: str, value: object, known: set[str], wanted: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KeysError(f'{what}: got {_short(value)}, it must have {", ".join(sorted(wanted))}')
    for name in value:
        if name not in known:
            raise KeysError(f'{what}: unknown entry {_short(name)}; known are '
                            f'{", ".join(sorted(known))}')
    missing = sorted(wanted - value.keys())
    if missing:
        raise KeysError(f'{what}: {", ".join(missing)} is missing')
    return value


def _key(what: str, value: object) -> Key:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise KeysError(f'{what}: got {_short(value)}, it must be a key, or a list of keys from '
                        'the outside in')
    return tuple(names)


def _length(what: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MOST:
        raise KeysError(f'{what}: got {_short(value)}, it must be a whole number from 1 to '
                        f'{_MOST}')
    return value


def _size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise KeysError(f'image_size: got {_short(value)}, it must be [height, width]')
    return _length('image_size', value[0]), _length('image_size', value[1])


def _indices(value: object, shape: tuple[int, int] | None) -> tuple[int, ...]:
    most = shape[1] if shape else 0
    if not isinstance(value, list) or not all(
            type(index) is int and 0 <= index < most for index in value):
        raise KeysError(f'actions.binarize: got {_short(value)}, it must be a list of dimensions, '
                        'the first of which is 0')
    return tuple(value)


def _numbers(what: str, value: object, length: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != length or not all(
            type(number) in (int, float) and math.isfinite(number) for number in value):
        raise KeysError(f'{what}: got {_short(value)}, it must be {length} finite numbers')
    return tuple(map(float, value))


def _put(packed: dict[str, Any], key: Key, value: object) -> None:
    for name in key[:-1]:
        packed = packed.setdefault(name, {})
    packed[key[-1]] = value


def _get(message: object, key: Key) -> object:
    for name in key:
        if not isinstance(message, Mapping) or name not in message:
            raise ObservationError(f'{"/".join(key)}: it is missing')
        message = message[name]
    return message


def _unpack_state(key: Key, length: int, value: object) -> np.ndarray:
    """Return float64 (length,)."""
    try:
        part = np.atleast_1d(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        part = np.zeros(0)
    if part.shape != (length,) or not np.isfinite(part).all():
        raise ObservationError(f'{"/".join(key)}: got {_short(value)}, it must be {length} finite '
                               'numbers')
    return part


def _short(value: object) -> str:
    text = ' '.join(repr(value).split())
    return text if len(text) <= 60 else f'{text[:57]}...'
