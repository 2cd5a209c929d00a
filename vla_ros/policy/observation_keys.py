# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Under which keys policies of other projects want images, state and prompt, and give actions.

Each policy of openpi or GR00T has keys of its own. A YAML file says which, see
:mod:`vla_ros.policy.keys_file`; the client writes an observation by it, and
``vla_serve --protocol openpi`` reads one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.errors import ObservationError
from vla_ros.errors import VlaError
from vla_ros.policy.base import Observation

#: A key, or the keys from the outside in where maps are nested.
Key = tuple[str, ...]


class ActionsError(VlaError):
    """Actions that do not match the file of keys."""


@dataclass(frozen=True)
class FeatureMeaning:
    """
    What an array means, in the words that LeRobot's server and client must agree on.

    :param semantics: the convention: units, calibration, placement of a camera.
    :param names: of the components, in their order; empty for an image.
    """

    semantics: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeRobotMeanings:
    """
    What LeRobot's protocol wants to be declared beside the keys.

    :param semantics: the convention of the whole deployment.
    :param features: of each image, part of the state, and the actions, by key.
    :param artifact: the only checkpoint that may serve, by its identity; empty: any.
    """

    semantics: str
    features: Mapping[str, FeatureMeaning]
    artifact: str = ''


@dataclass(frozen=True)
class ObservationKeys:
    """
    The keys of one policy.

    :param images: of each camera, the main one first.
    :param image_layout: ``hwc``, (height, width, 3), or ``chw``, (3, height, width).
    :param image_size: (height, width) that images are brought to, as openpi's clients do; None:
        they are sent as they are.
    :param state: keys of the state's parts and the length of each, in the order of the state.
    :param state_scale: factor of each number of the state, from the robot's units to the policy's;
        None: they are the same.
    :param actions: keys of the arrays in a reply that make up an action, in its order.
    :param steps: actions in a chunk; 0 where only a server reads the file.
    :param action_lengths: dimensions in each of those arrays; empty where only a server reads it.
    :param binarize: dimensions of which a number above 0.5 becomes 1 and any other one 0.
    :param clip: limits of every number of an action, before it is scaled; None: none.
    :param scale: factor of each dimension, from the policy's units to those of the dataset.
    :param dataset: key of ``config/datasets.yaml`` that describes the scaled actions.
    :param lerobot: what only LeRobot's protocol wants; None: the file is for another one.
    """

    images: tuple[Key, ...]
    prompt: Key
    actions: tuple[Key, ...]
    image_layout: str = 'hwc'
    image_size: tuple[int, int] | None = None
    state: tuple[tuple[Key, int], ...] = ()
    steps: int = 0
    action_lengths: tuple[int, ...] = ()
    binarize: tuple[int, ...] = ()
    clip: tuple[float, float] | None = None
    scale: tuple[float, ...] | None = None
    dataset: str = ''
    state_scale: tuple[float, ...] | None = None
    lerobot: LeRobotMeanings | None = None

    @property
    def state_length(self) -> int:
        """Numbers of the state."""
        return sum(length for _, length in self.state)

    @property
    def action_shape(self) -> tuple[int, int]:
        """(T, D) of a chunk."""
        return self.steps, sum(self.action_lengths)

    def pack(self, observation: Observation) -> dict[str, Any]:
        """
        Write an observation under its keys.

        :raises ObservationError: it has other cameras, or another state.
        """
        packed: dict[str, Any] = {}
        for key, value in (*self.pack_images(observation), *self.pack_state(observation),
                           (self.prompt, observation.instruction)):
            _put(packed, key, value)
        return packed

    def pack_images(self, observation: Observation) -> list[tuple[Key, np.ndarray]]:
        """
        Return key and image of each camera, uint8 in the layout of the file.

        :raises ObservationError: it has other cameras.
        """
        if len(observation.images) != len(self.images):
            raise ObservationError(f'observation: {len(observation.images)} images, the file of '
                                   f'keys has {len(self.images)}')
        return [(key, self._pack_image(image))
                for key, image in zip(self.images, observation.images)]

    def pack_state(self, observation: Observation) -> list[tuple[Key, np.ndarray]]:
        """
        Return key and numbers of each part of the state, float64 (length,).

        :raises ObservationError: it has another state.
        """
        state = observation.proprio
        if self.state and (state is None or state.shape != (self.state_length,)):
            raise ObservationError('observation: the state is '
                                   f'{None if state is None else state.shape}, the file of keys '
                                   f'has {self.state_length} numbers')
        if state is not None and self.state_scale is not None:
            state = state * self.state_scale
        parts, start = [], 0
        for key, length in self.state:
            assert state is not None
            parts.append((key, state[start:start + length]))
            start += length
        return parts

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
            raise ObservationError(f'{"/".join(self.prompt)}: got {shorten(prompt)}, it must be a '
                                   'string')
        state = None
        if state_length:
            state = np.concatenate([_unpack_state(key, length, _get(message, key))
                                    for key, length in self.state])
            if self.state_scale is not None:
                state = state / self.state_scale
        return Observation(images, prompt, state)

    def read_actions(self, reply: object) -> np.ndarray:
        """
        Read the actions of a reply, in the units of the dataset; nothing of it is believed.

        :returns: float64 (T, D).
        :raises ActionsError: they are missing, of another shape or type, or not finite.
        """
        parts = [self._read_part(reply, key, length)
                 for key, length in zip(self.actions, self.action_lengths)]
        actions: np.ndarray = np.concatenate(parts, axis=1)
        if self.binarize:
            actions[:, self.binarize] = actions[:, self.binarize] > 0.5
        if self.clip is not None:
            actions = np.clip(actions, *self.clip)
        return actions if self.scale is None else actions * self.scale

    def _read_part(self, reply: object, key: Key, length: int) -> np.ndarray:
        """Return float64 (T, length)."""
        name = '/'.join(key)
        try:
            value = _get(reply, key)
        except ObservationError as error:
            raise ActionsError(str(error)) from None
        if not isinstance(value, np.ndarray) or value.dtype.kind != 'f':
            kind = value.dtype if isinstance(value, np.ndarray) else shorten(value)
            raise ActionsError(f'{name}: got {kind}, they must be an array of floating-point '
                               'numbers')
        if value.shape != (self.steps, length):
            raise ActionsError(f'{name}: got shape {value.shape}, the file of keys has '
                               f'{(self.steps, length)}')
        if not np.isfinite(value).all():
            raise ActionsError(f'{name}: a number is not finite')
        return value.astype(np.float64)

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
                    else shorten(value))
            wanted = '(3, height, width)' if axis == 0 else '(height, width, 3)'
            raise ObservationError(f'{"/".join(key)}: got {kind}, it must be an array of uint8 '
                                   f'{wanted}')
        return value.transpose(1, 2, 0) if axis == 0 else value


def resize_with_pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """
    Resize an image without distortion, as ``image_tools`` of openpi's client does.

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
        raise ObservationError(f'{"/".join(key)}: got {shorten(value)}, it must be {length} '
                               'finite numbers')
    return part


def shorten(value: object) -> str:
    """Write a value on one line of at most 60 characters."""
    text = ' '.join(repr(value).split())
    return text if len(text) <= 60 else f'{text[:57]}...'
