# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
A policy behind GR00T's inference server: msgpack over ZeroMQ.

Two forms of its protocol are spoken, and the server's ``get_modality_config`` says which: that of
N1.5 (one map of arrays without a batch there, another back) and that of N1.6 and N1.7 (maps for
``video``, ``state`` and ``language`` there, the actions and a map of information back).
"""

from collections.abc import Iterable
from collections.abc import Mapping
import logging
import os
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from vla_ros.data.gr00t_msgpack import pack
from vla_ros.data.gr00t_msgpack import unpack
from vla_ros.data.msgpack_numpy import MsgpackError
from vla_ros.errors import ParameterError
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.gr00t_modalities import Modality
from vla_ros.policy.gr00t_modalities import ModalityError
from vla_ros.policy.gr00t_modalities import read_modalities
from vla_ros.policy.keyed import KeyedPolicy
from vla_ros.policy.keyed import read_text_error
from vla_ros.policy.keys_file import KeysError
from vla_ros.policy.keys_file import load_client_keys
from vla_ros.policy.observation_keys import ObservationKeys
from vla_ros.policy.observation_keys import shorten
from vla_ros.policy.remote import API_KEY_VARIABLE
from vla_ros.policy.remote import RemoteError
import zmq

_logger = logging.getLogger(__name__)

# A chunk of 50 actions of a humanoid has 20 kB. What is larger is named up to the second limit;
# beyond that ZeroMQ ends the connection.
_MAX_REPLY, _MAX_MESSAGE = 2**20, 2**24


class Gr00tPolicy(KeyedPolicy):
    """
    Sends every observation to a server and waits for the actions until a deadline.

    Each request carries a number in its envelope, which the server's socket repeats: a late reply,
    or an unexpected one, is an error, and nothing of it is read. After any failure the
    connection is closed.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """
        Query the modalities of the server, and compare them with the file of keys.

        :raises KeysError: the file of keys is missing, not valid, or not for this protocol.
        :raises ParameterError: the address is not valid.
        :raises RemoteError: the server does not answer, or wants something else.
        """
        super().__init__(config, _load_keys(config.keys_file or ''))
        _check_url(config.url)
        self._socket: zmq.Socket[bytes] | None = None
        self._requests = 0
        content = self._exchange({'endpoint': 'get_modality_config'})
        try:
            modalities, self._is_flat = read_modalities(content)
            _compare(modalities, self._keys)
        except ModalityError as error:
            self._close()
            raise self._error(error) from None
        _logger.info('GR00T server %s: %.300s', config.url, modalities)

    def _ask(self, observation: Observation) -> tuple[object, object]:
        data = _write(observation, self._keys, self._is_flat)
        reply = self._exchange({'endpoint': 'get_action', 'data': data})
        try:
            return _read(reply, self._keys, self._is_flat), None
        except RemoteError as error:
            self._close()
            raise self._error(error) from None

    def _exchange(self, request: dict[str, Any]) -> object:
        """
        Send a request and return the reply, all within the deadline.

        :raises RemoteError: it failed, took too long, or the server reports an error.
        """
        token = os.environ.get(API_KEY_VARIABLE)
        message = pack({**request, 'api_token': token} if token else request)
        try:
            reply = unpack(self._transfer(message, time.monotonic() + self._deadline))
            if isinstance(reply, Mapping) and 'error' in reply:
                raise RemoteError(read_text_error(str(reply['error'])[:10_000]))
        except zmq.ZMQError as error:
            self._close()
            raise self._error(error) from None
        except (RemoteError, MsgpackError) as error:
            self._close()
            raise self._error(error) from None
        return reply

    def _transfer(self, message: bytes, end: float) -> bytes:
        """
        Exchange messages until a time of ``time.monotonic()``.

        :raises RemoteError: it is too late, or something else came.
        """
        if self._socket is None:
            self._socket = self._connect()
        elif self._socket.poll(0, zmq.POLLIN):
            raise RemoteError('an unexpected message came')
        self._requests += 1
        number = self._requests.to_bytes(8, 'big')
        if not _wait(self._socket, zmq.POLLOUT, end):
            raise RemoteError(f'no server took the connection within {self._deadline:g} s')
        # The envelope of a REQ socket, whose number the server's REP socket repeats.
        self._socket.send_multipart([number, b'', message], zmq.DONTWAIT)
        if not _wait(self._socket, zmq.POLLIN, end):
            raise RemoteError(f'no reply within {self._deadline:g} s')
        frames = [self._socket.recv(zmq.DONTWAIT)]
        while self._socket.getsockopt(zmq.RCVMORE) and len(frames) < 4:
            frames.append(self._socket.recv(zmq.DONTWAIT))
        if frames[:-1] != [number, b'']:
            raise RemoteError('a message came that is no reply to the request')
        if len(frames[-1]) > _MAX_REPLY:
            raise RemoteError(f'a reply of {len(frames[-1])} bytes, more than {_MAX_REPLY}')
        return frames[-1]

    def _connect(self) -> 'zmq.Socket[bytes]':
        # A DEALER is a REQ socket whose envelope we write ourselves: see _transfer. Names are
        # looked up and connections made in ZeroMQ's own thread, so no call waits past its time.
        connection: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        connection.setsockopt(zmq.LINGER, 0)
        connection.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE)
        connection.setsockopt(zmq.IMMEDIATE, 1)  # send only where a server is
        connection.setsockopt(zmq.IPV6, 1)
        connection.connect(self._url.rstrip('/'))
        return connection

    def _close(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()


def _wait(connection: 'zmq.Socket[bytes]', event: int, end: float) -> bool:
    return bool(connection.poll(max(0, round((end - time.monotonic()) * 1e3)), event))


def _load_keys(file: str) -> ObservationKeys:
    keys = load_client_keys(file, 'gr00t')
    for key in (*keys.images, *(key for key, _ in keys.state), keys.prompt, *keys.actions):
        if len(key) > 1:
            raise KeysError(f'keys file {file}: {list(key)}: a key of GR00T is a name, without '
                            'video, state or action before it')
    if keys.image_layout != 'hwc':
        raise KeysError(f'keys file {file}: image_layout: GR00T takes hwc alone')
    return keys


def _compare(modalities: Mapping[str, Modality], keys: ObservationKeys) -> None:
    """
    Compare what the server wants and gives with the file of keys.

    :raises ModalityError: they differ.
    """
    for name, mine in (('video', keys.images), ('state', [key for key, _ in keys.state]),
                       ('language', [keys.prompt])):
        modality = modalities[name]
        wanted, given = set(modality.keys), {key[0] for key in mine}
        if wanted != given:
            raise ModalityError(f'{name}: the server wants {_join(wanted)}, the file of keys has '
                                f'{_join(given)}')
        if given and modality.offsets != (0,):
            raise ModalityError(f'{name}: the server wants the steps {list(modality.offsets)}, '
                                'a node has the present one, [0]')
    given, wanted = set(modalities['action'].keys), {key[0] for key in keys.actions}
    if not wanted <= given:
        raise ModalityError(f'action: the server gives {_join(given)}, the file of keys has '
                            f'{_join(wanted)}')
    steps = len(modalities['action'].offsets)
    if steps != keys.steps:
        raise ModalityError(f'action: the server gives {steps} steps, the file of keys has '
                            f'{keys.steps}')


def _join(names: Iterable[str]) -> str:
    return ', '.join(sorted(names)) or 'none'


def _write(observation: Observation, keys: ObservationKeys, is_flat: bool) -> dict[str, Any]:
    images = {key[0]: image[None] for key, image in keys.pack_images(observation)}
    state: dict[str, np.ndarray] = {key[0]: part[None].astype(np.float32)
                                    for key, part in keys.pack_state(observation)}
    prompt, instruction = keys.prompt[0], observation.instruction
    if is_flat:
        return {**{f'video.{name}': image for name, image in images.items()},
                **{f'state.{name}': part for name, part in state.items()},
                prompt: [instruction]}
    return {'observation': {'video': {name: image[None] for name, image in images.items()},
                            'state': {name: part[None] for name, part in state.items()},
                            'language': {prompt: [[instruction]]}},
            'options': None}


def _read(reply: object, keys: ObservationKeys, is_flat: bool) -> dict[str, object]:
    """
    Return the arrays of a reply by the keys of the file, without the batch; they are not checked.

    :raises RemoteError: the reply has another form.
    """
    if not is_flat:
        if not isinstance(reply, list) or len(reply) != 2:
            raise RemoteError(f'got {shorten(reply)}, it must be a list of actions and a map')
        reply = reply[0]
    if not isinstance(reply, Mapping):
        raise RemoteError(f'got {shorten(reply)}, the actions must be a map')
    arrays: dict[str, object] = {}
    for key, length in zip(keys.actions, keys.action_lengths):
        name = f'action.{key[0]}' if is_flat else key[0]
        if name not in reply:
            continue  # the keys say so
        array = reply[name]
        if isinstance(array, np.ndarray):
            if not is_flat and array.shape[:1] == (1,):
                array = array[0]
            elif is_flat and array.ndim == 1 and length == 1:
                array = array[:, None]  # N1.5 leaves such an axis out
        arrays[key[0]] = array
    return arrays


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        if parts.scheme == 'tcp' and parts.hostname and parts.port and parts.path in ('', '/'):
            return
    except ValueError:
        pass  # a port that is none
    raise ParameterError('url', url, 'like tcp://gpu-machine:5555')
