# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The REST protocol without its transport: the body of a request in, status and body of a reply out.

``/act`` replies byte for byte as the official servers do (vla-scripts/deploy.py of
openvla/openvla and of moojink/openvla-oft); ``/infer`` and ``/spec`` are this project's own and
carry everything a policy says, for :class:`vla_ros.policy.remote.RemotePolicy`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
import logging
import math
import time
from typing import Any

import numpy as np

from vla_ros.data.json_numpy import dumps
from vla_ros.data.json_numpy import JsonError
from vla_ros.data.json_numpy import loads
from vla_ros.errors import DeviceLostError
from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import VlaError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.server.batching import BatchCollector
from vla_ros.server.batching import OverloadedError

_LOG = logging.getLogger(__name__)


class RequestError(VlaError):
    """A request whose body is JSON but not what the protocol asks for."""


class UndecidedError(VlaError):
    """The result depends on a dataset, and the request chooses none."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Name the datasets."""
        super().__init__(
            'unnorm_key: vla_serve was started without --unnorm-key, and the checkpoint was '
            'trained on several datasets; start it with one, or name one in each request to /act; '
            f'choose from: {", ".join(keys)}')


@dataclass(frozen=True)
class Reply:
    """Status and body, JSON in UTF-8."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Service:
    """
    One policy behind the protocol.

    A policy of one action a chunk is served as OpenVLA's server does, of several as OFT's does: an
    observation in, a list of actions out.

    :param strict: answer a failed ``/act`` with a status and a reason; the official servers say
        200 and ``"error"``.
    :param undecided: datasets of which a request to ``/act`` must name one; the rest of the
        protocol has no room for that, and is refused. Empty where one was chosen.
    """

    def __init__(self, policy: Any, collector: BatchCollector, strict: bool = False,
                 undecided: Sequence[str] = ()) -> None:
        self._policy = policy
        self._collector = collector
        self._oft = policy.spec.action_shape[0] > 1
        self._strict = strict
        self._undecided = tuple(undecided)

    def spec(self) -> Reply:
        """Describe the policy."""
        if self._undecided:
            return _reply(409, {'error': str(UndecidedError(self._undecided))})
        return _reply(200, asdict(self._policy.spec))

    def statistics(self) -> Reply:
        """Return the counts of requests and results."""
        return _reply(200, self._collector.statistics())

    def act(self, body: bytes, client: str) -> Reply:
        """Answer as the official server does; ``client`` is whose turn it takes."""
        try:
            payload = _read_object(body)
        except VlaError as error:
            # What the official framework does before its handler sees the request.
            return _reply(422, {'detail': str(error)})
        try:
            encoded = 'encoded' in payload
            if encoded:
                payload = _read_encoded(payload)
            reply = self._act(payload, client)
            text = dumps(reply) if encoded else reply
            return _reply(200, text)
        except Exception as error:  # any error: the client gets it in its protocol
            return self._fail(error)

    def infer(self, body: bytes, client: str) -> Reply:
        """Reply with the whole result of the policy, or with the error."""
        received = time.monotonic()
        try:
            if self._undecided:
                raise UndecidedError(self._undecided)
            payload = _read_object(body)
            observation = _read_observation(payload)
            chunk = self._collector.infer(observation, client,
                                          received + _read_deadline(payload.get('deadline_s')))
            return _reply(200, {'request': payload.get('request'), 'chunk': _describe(chunk)})
        except InvalidAction as error:
            return _reply(422, {'invalid': {
                'reason': error.reason, 'token_ids': error.token_ids,
                'positions': error.positions, 'prompt': error.prompt,
                'input_ids': error.input_ids}})
        except Exception as error:
            return _failure(error)

    def _act(self, payload: Mapping, client: str) -> object:
        instruction = payload.get('instruction')
        if not isinstance(instruction, str):
            raise RequestError('instruction: must be a string')
        observation = (self._read_oft(payload, instruction) if self._oft
                       else Observation((_read_image('image', payload.get('image')),),
                                        instruction))
        chunk = self._collector.infer(observation, client)
        if self._oft:
            return list(chunk.actions)
        key = payload.get('unnorm_key')
        if key is not None and not isinstance(key, str):
            raise RequestError('unnorm_key: must be a string')
        return self._rescale(chunk, key)[0]

    def _rescale(self, chunk: ActionChunk, key: str | None) -> np.ndarray:
        """Return the actions in the units of the dataset asked for, float64 (T, D)."""
        if key == self._policy.spec.unnorm_key or key is None and not self._undecided:
            return chunk.actions
        scaled: np.ndarray = self._policy.rescale(chunk, key)
        return scaled

    def _read_oft(self, payload: Mapping, instruction: str) -> Observation:
        spec = self._policy.spec
        images = [_read_image('full_image', payload.get('full_image'))]
        if spec.image_count > 1:
            images += [_read_image(name, value) for name, value in payload.items()
                       if 'wrist' in name]
        proprio = _read_vector('state', payload.get('state')) if spec.proprio_dim else None
        return Observation(tuple(images), instruction, proprio)

    def _fail(self, error: Exception) -> Reply:
        _LOG.warning('/act failed: %s', _sentence(error))
        if not self._strict and not isinstance(error, OverloadedError):
            return Reply(200, b'"error"')
        return _failure(error)


def _read_object(body: bytes) -> dict:
    payload = loads(body)
    if not isinstance(payload, dict):
        raise RequestError('body: must be a JSON object')
    return payload


def _read_encoded(payload: Mapping) -> dict:
    """Read a body within a body, for clients that cannot write arrays into JSON themselves."""
    if len(payload) != 1 or not isinstance(payload['encoded'], str):
        raise RequestError('encoded: must be a string and the only entry')
    return _read_object(payload['encoded'].encode())


def _read_observation(payload: Mapping) -> Observation:
    images = payload.get('images')
    if not isinstance(images, list) or not isinstance(payload.get('instruction'), str):
        raise RequestError('body: must hold images, a list of arrays, and instruction, a string')
    proprio = payload.get('proprio')
    return Observation(tuple(_read_image('images', image) for image in images),
                       payload['instruction'],
                       None if proprio is None else _read_vector('proprio', proprio))


def _read_deadline(value: object) -> float:
    """Return seconds; infinity where there is no deadline."""
    if value is None:
        return math.inf
    if type(value) not in (int, float) or not 0.0 < value < math.inf:  # type: ignore[operator]
        raise RequestError(f'deadline_s: got {str(value)[:60]}, it must be a number above zero')
    return float(value)  # type: ignore[arg-type]


def _read_image(name: str, value: object) -> np.ndarray:
    """Return uint8 (H, W, 3) of what Pillow would read as grey, RGB or RGBA."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or not value.size:
        raise RequestError(f'{name}: must be an array of uint8 (height, width, 3)')
    if value.ndim == 2:
        return np.repeat(value[..., None], 3, axis=2)
    if value.ndim != 3 or value.shape[2] not in (3, 4):
        raise RequestError(f'{name}: must have shape (height, width, 3), got {value.shape}')
    return value[..., :3]


def _read_vector(name: str, value: object) -> np.ndarray:
    """Return float64 (P,), finite; NumPy would take null for NaN, and text for numbers."""
    if isinstance(value, list):
        if not all(type(number) in (int, float) for number in value):
            raise RequestError(f'{name}: must be numbers')
        try:
            value = np.array(value, np.float64)
        except OverflowError:
            raise RequestError(f'{name}: must be finite numbers') from None
    if not isinstance(value, np.ndarray) or value.dtype.kind not in 'fiu':
        raise RequestError(f'{name}: must be numbers')
    if value.ndim != 1:
        raise RequestError(f'{name}: must be a vector, got shape {value.shape}')
    if not np.isfinite(value).all():
        raise RequestError(f'{name}: must be finite numbers')
    return value.astype(np.float64)


def _describe(chunk: ActionChunk) -> dict:
    return {'actions': chunk.actions, 'normalized': chunk.normalized,
            'token_ids': chunk.token_ids, 'bins': chunk.bins, 'margins': chunk.margins,
            'prompt': chunk.prompt, 'input_ids': chunk.input_ids,
            'timings_ms': dict(chunk.timings_ms), 'period_s': chunk.period_s,
            'drafted': chunk.drafted, 'accepted': chunk.accepted}


def _status(error: Exception) -> int:
    if isinstance(error, InvalidAction):
        return 422
    if isinstance(error, (DeviceLostError, OverloadedError)):
        return 503
    if isinstance(error, UndecidedError):
        return 409
    if isinstance(error, (RequestError, JsonError, ObservationError)):
        return 400
    return 400 if isinstance(error, VlaError) else 500


def _sentence(error: Exception) -> str:
    """Return a user's error in full, and of any other one only the kind: it is for the log."""
    if isinstance(error, VlaError):
        return str(error)
    _LOG.error('internal error', exc_info=error)
    return f'internal error ({type(error).__name__})'


def _failure(error: Exception) -> Reply:
    headers = {}
    if isinstance(error, OverloadedError):
        headers['Retry-After'] = str(max(1, math.ceil(error.retry_after_s)))
    body = dumps({'error': _sentence(error)}, compact=True).encode()
    return Reply(_status(error), body, headers)


def _reply(status: int, content: object) -> Reply:
    return Reply(status, dumps(content, compact=True).encode())
