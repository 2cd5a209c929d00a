# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A policy that runs on another machine, behind ``vla_serve``: this one needs no GPU."""

from contextlib import suppress
from http.client import HTTPConnection
from http.client import HTTPException
from http.client import HTTPSConnection
from http.client import RemoteDisconnected
import os
from queue import Empty
from queue import SimpleQueue
import socket
import threading
import time
from urllib.parse import urlsplit

import numpy as np

from vla_ros.data.json_numpy import dumps
from vla_ros.data.json_numpy import loads
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.remote_reply import read_chunk
from vla_ros.policy.remote_reply import read_invalid_action
from vla_ros.policy.remote_reply import read_spec
from vla_ros.policy.remote_reply import ReplyError

API_KEY_VARIABLE = 'VLA_API_KEY'
# A reply has some kilobytes; more is an error.
_MAX_REPLY = 2**20


class RemoteError(VlaError):
    """The remote policy cannot be reached, is too late, or does not speak the protocol."""


class _ClosedError(RemoteError):
    """The server had closed the connection before it took the request."""


class RemotePolicy:
    """
    Sends every observation to a server and waits for the reply until a deadline.

    A request that misses its deadline raises :class:`RemoteError`, and its connection is closed:
    a reply that comes later goes nowhere. Each request carries a number that its reply repeats.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """
        Query the spec of the server.

        :raises ParameterError: the address is not valid.
        :raises RemoteError: the server does not reply.
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
        Answer one observation; see :meth:`vla_ros.policy.base.Policy.infer`.

        :raises RemoteError: no reply came before the deadline.
        """
        self._requests += 1
        began = time.monotonic()
        body = dumps({'images': [np.ascontiguousarray(image) for image in observation.images],
                      'instruction': observation.instruction, 'proprio': observation.proprio,
                      'request': self._requests, 'deadline_s': self._deadline})
        status, reply = self._ask('POST', '/infer', body.encode())
        if status == 422 and 'invalid' in reply:
            try:
                raise read_invalid_action(reply['invalid'])
            except ReplyError as error:
                raise RemoteError(f'remote policy {self._url}: invalid reply: {error}') from None
        if status == 400:
            raise ObservationError(f'remote policy: {reply.get("error")}')
        if status != 200:
            raise RemoteError(f'remote policy {self._url}: status {status}, '
                              f'{reply.get("error") or reply.get("detail")}')
        if reply.get('request') != self._requests:
            self._connection = None
            raise RemoteError(f'remote policy {self._url}: the reply belongs to another request')
        try:
            return read_chunk(reply.get('chunk'), self.spec.action_shape,
                              (time.monotonic() - began) * 1e3)
        except ReplyError as error:
            raise RemoteError(f'remote policy {self._url}: invalid reply: {error}') from None

    def reset(self) -> None:
        """Discard earlier observations: the server keeps none."""

    def select_adapter(self, name: str | None) -> None:
        """
        Refuse: adapters are chosen where the model runs.

        :raises ParameterError: always.
        """
        raise ParameterError('adapter', name, 'chosen where vla_serve runs')

    def _read_spec(self) -> PolicySpec:
        status, reply = self._ask('GET', '/spec')
        if status == 401:
            raise RemoteError(f'remote policy {self._url}: it wants a key; set the environment '
                              f'variable {API_KEY_VARIABLE}')
        if status == 409:
            raise RemoteError(f'remote policy {self._url}: {reply.get("error")}')
        if status != 200:
            raise RemoteError(f'remote policy {self._url}: no vla_serve is there '
                              f'(status {status})')
        try:
            return read_spec(reply)
        except ReplyError as error:
            raise RemoteError(f'remote policy {self._url}: no vla_serve is there '
                              f'({error})') from None

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict]:
        """
        Exchange one request, within the deadline as a whole.

        Everything that may wait, looking up the name and a second try included, happens in a
        thread that is left behind at the deadline: a socket's own timeout restarts with every
        byte and every address.

        :raises RemoteError: it failed or took too long.
        """
        used: list[HTTPConnection] = []
        outcome: SimpleQueue[tuple[int, dict] | RemoteError] = SimpleQueue()
        late = threading.Event()
        arguments = (self._connection, used, outcome, late, method, path, body)
        threading.Thread(target=self._run, args=arguments, daemon=True).start()
        try:
            result = outcome.get(timeout=self._deadline)
        except Empty:
            result = self._late()
        if isinstance(result, RemoteError):
            late.set()
            self._connection = None
            for connection in used:
                _abort(connection)
            raise result
        self._connection = used[-1]
        return result

    def _run(self, kept: HTTPConnection | None, used: list[HTTPConnection],
             outcome: 'SimpleQueue[tuple[int, dict] | RemoteError]', late: threading.Event,
             method: str, path: str, body: bytes | None) -> None:
        try:
            if kept is not None:
                # A server closes idle connections; only a request shows it.
                with suppress(_ClosedError):
                    used.append(kept)
                    outcome.put(self._exchange(kept, method, path, body))
                    return
            if late.is_set():
                return  # the request has timed out and may have been sent again
            used.append(self._connect())
            outcome.put(self._exchange(used[-1], method, path, body))
        except RemoteError as error:
            outcome.put(error)

    def _exchange(self, connection: HTTPConnection, method: str, path: str,
                  body: bytes | None) -> tuple[int, dict]:
        try:
            headers = {'Content-Type': 'application/json'}
            if self._key:
                headers['Authorization'] = f'Bearer {self._key}'
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read(_MAX_REPLY + 1)
            if len(content) > _MAX_REPLY:
                raise RemoteError(f'remote policy {self._url}: a reply of more than '
                                  f'{_MAX_REPLY} bytes')
            reply = loads(content)
        except RemoteError:
            raise
        except TimeoutError:
            # The socket's own time ends when the deadline does, and may be noticed first.
            raise self._late() from None
        except (RemoteDisconnected, ConnectionError) as error:
            raise _ClosedError(f'remote policy {self._url}: {error}') from None
        except (OSError, HTTPException, VlaError, ValueError) as error:
            raise RemoteError(f'remote policy {self._url}: {error or type(error).__name__}') \
                from None
        if not isinstance(reply, dict):
            raise RemoteError(f'remote policy {self._url}: not a reply of vla_serve')
        return response.status, reply

    def _late(self) -> RemoteError:
        return RemoteError(f'remote policy {self._url}: no reply within {self._deadline:g} s')

    def _connect(self) -> HTTPConnection:
        scheme, host, port = self._address
        kind = HTTPSConnection if scheme == 'https' else HTTPConnection
        return kind(host, port, timeout=self._deadline)


def _abort(connection: HTTPConnection) -> None:
    """End what waits for a connection in another thread, and close it."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def _split(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        if parts.scheme in ('http', 'https') and parts.hostname and parts.path in ('', '/'):
            return parts.scheme, parts.hostname, parts.port
    except ValueError:
        pass  # a port that is none
    raise ParameterError('url', url, 'like http://gpu-machine:8000')
