# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A policy that runs on another machine, behind ``vla_serve``: this one needs no GPU."""

from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection
from http.client import HTTPException
from http.client import HTTPSConnection
from http.client import RemoteDisconnected
import os
import socket
import threading
import time
from urllib.parse import urlsplit

import numpy as np

from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.json_numpy import dumps
from vla_ros.json_numpy import loads
from vla_ros.policy import ActionChunk
from vla_ros.policy import Observation
from vla_ros.policy import PolicyConfig
from vla_ros.policy import PolicySpec

API_KEY_VARIABLE = 'VLA_API_KEY'
# An answer is some kilobytes; more is not one.
_MAX_REPLY = 2**20


class RemoteError(VlaError):
    """The remote policy cannot be reached, is too late, or does not speak the protocol."""


class _ClosedError(RemoteError):
    """The server had closed the connection before it took the request."""


class RemotePolicy:
    """
    Sends every observation to a server and waits for the answer until a deadline.

    A request that misses its deadline raises :class:`RemoteError`, and its connection is closed:
    an answer that comes later goes nowhere. Each request carries a number that its answer repeats.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """
        Ask the server what it runs.

        :raises ParameterError: the address is not valid.
        :raises RemoteError: the server does not answer.
        """
        self._url = config.url
        self._deadline = config.deadline_s
        self._key = os.environ.get(API_KEY_VARIABLE)
        self._address = _split(config.url)
        self._connection: HTTPConnection | None = None
        self._requests = 0
        self.spec = self._read_spec()

    def infer(self, observation: Observation) -> ActionChunk:
        """
        Answer one observation; see :meth:`vla_ros.policy.Policy.infer`.

        :raises RemoteError: no answer came before the deadline.
        """
        self._requests += 1
        began = time.monotonic()
        body = dumps({'images': [np.ascontiguousarray(image) for image in observation.images],
                      'instruction': observation.instruction, 'proprio': observation.proprio,
                      'request': self._requests, 'deadline_s': self._deadline})
        status, answer = self._ask('POST', '/infer', body.encode())
        if status == 422 and 'invalid' in answer:
            raise _invalid_action(answer['invalid'])
        if status == 400:
            raise ObservationError(f'remote policy: {answer.get("error")}')
        if status != 200:
            raise RemoteError(f'remote policy {self._url}: status {status}, '
                              f'{answer.get("error") or answer.get("detail")}')
        if answer.get('request') != self._requests:
            self._drop()
            raise RemoteError(f'remote policy {self._url}: an answer to another request came')
        try:
            return _read_chunk(answer['chunk'], (time.monotonic() - began) * 1e3)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RemoteError(f'remote policy {self._url}: not an answer ({error!r})') from None

    def reset(self) -> None:
        """Forget earlier observations: the server keeps none."""

    def select_adapter(self, name: str | None) -> None:
        """
        Refuse: adapters are chosen where the model runs.

        :raises ParameterError: always.
        """
        raise ParameterError('adapter', name, 'chosen where vla_serve runs')

    def _read_spec(self) -> PolicySpec:
        status, answer = self._ask('GET', '/spec')
        if status == 401:
            raise RemoteError(f'remote policy {self._url}: it wants a key; set the environment '
                              f'variable {API_KEY_VARIABLE}')
        if status == 409:
            raise RemoteError(f'remote policy {self._url}: {answer.get("error")}')
        try:
            if status != 200:
                raise ValueError(f'status {status}')
            shape = answer.pop('action_shape')
            return PolicySpec(action_shape=(int(shape[0]), int(shape[1])), **answer)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RemoteError(f'remote policy {self._url}: no vla_serve answers there '
                              f'({error!r})') from None

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict]:
        """
        Exchange one request, within the deadline as a whole.

        :raises RemoteError: it failed or took too long.
        """
        if self._connection is not None:
            # A server closes what was quiet for long; only a try tells.
            with suppress(_ClosedError):
                return self._exchange(self._connection, method, path, body)
        self._connection = self._connect()
        return self._exchange(self._connection, method, path, body)

    def _exchange(self, connection: HTTPConnection, method: str, path: str,
                  body: bytes | None) -> tuple[int, dict]:
        late = threading.Event()
        # A socket's own timeout starts anew with every byte; this one does not.
        guard = threading.Timer(self._deadline, _abort, (connection, late))
        guard.daemon = True
        guard.start()
        try:
            headers = {'Content-Type': 'application/json'}
            if self._key:
                headers['Authorization'] = f'Bearer {self._key}'
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read(_MAX_REPLY)
            if late.is_set():
                raise TimeoutError
            answer = loads(content)
        except (OSError, HTTPException, VlaError) as error:
            self._drop()
            if not late.is_set() and isinstance(error, (RemoteDisconnected, ConnectionError)):
                raise _ClosedError(f'remote policy {self._url}: {error}') from None
            if late.is_set() or isinstance(error, TimeoutError):
                raise RemoteError(f'remote policy {self._url}: no answer within '
                                  f'{self._deadline:g} s') from None
            raise RemoteError(f'remote policy {self._url}: {error or type(error).__name__}') \
                from None
        finally:
            guard.cancel()
        if not isinstance(answer, dict):
            raise RemoteError(f'remote policy {self._url}: not an answer of vla_serve')
        return response.status, answer

    def _connect(self) -> HTTPConnection:
        scheme, host, port = self._address
        kind = HTTPSConnection if scheme == 'https' else HTTPConnection
        return kind(host, port, timeout=self._deadline)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _abort(connection: HTTPConnection, late: threading.Event) -> None:
    late.set()
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _split(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        if parts.scheme in ('http', 'https') and parts.hostname and parts.path in ('', '/'):
            return parts.scheme, parts.hostname, parts.port
    except ValueError:
        pass  # a port that is none
    raise ParameterError('url', url, 'like http://gpu-machine:8000')


def _invalid_action(answer: Mapping) -> VlaError:
    try:
        return InvalidAction(str(answer['reason']), tuple(answer['token_ids']),
                             tuple(answer['positions']), str(answer['prompt']),
                             tuple(answer['input_ids']))
    except (KeyError, TypeError) as error:
        return RemoteError(f'remote policy: not an answer ({error!r})')


def _read_chunk(answer: Mapping, elapsed_ms: float) -> ActionChunk:
    actions, normalized = (np.asarray(answer[name], np.float64)
                           for name in ('actions', 'normalized'))
    if actions.ndim != 2 or actions.shape != normalized.shape or not np.isfinite(actions).all():
        raise ValueError(f'actions of shape {actions.shape}')
    timings = {str(name): float(value) for name, value in answer['timings_ms'].items()}
    # Everything that is not the model: writing, sending, waiting, reading.
    timings['network'] = elapsed_ms - sum(timings.values())
    return ActionChunk(actions, normalized, tuple(answer['token_ids']), tuple(answer['bins']),
                       np.asarray(answer['margins'], np.float32), str(answer['prompt']),
                       tuple(answer['input_ids']), timings, answer['period_s'],
                       answer.get('drafted', 0), answer.get('accepted', 0))
