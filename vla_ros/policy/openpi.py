# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A policy behind a server with openpi's protocol: msgpack over a websocket."""

from collections.abc import Mapping
from contextlib import suppress
import logging
import os
from queue import Empty
from queue import SimpleQueue
import socket
import threading
from urllib.parse import urlsplit

from vla_ros.data.msgpack_numpy import MsgpackError
from vla_ros.data.msgpack_numpy import pack
from vla_ros.data.msgpack_numpy import unpack
from vla_ros.errors import ParameterError
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.keyed import KeyedPolicy
from vla_ros.policy.keyed import read_text_error
from vla_ros.policy.keys_file import load_client_keys
from vla_ros.policy.remote import API_KEY_VARIABLE
from vla_ros.policy.remote import RemoteError
from websockets.exceptions import ConnectionClosed
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect

_logger = logging.getLogger(__name__)

# A chunk of 50 actions has 10 kB, with what else a policy returns some 100; more is none.
_MAX_REPLY = 2**20


class OpenPiPolicy(KeyedPolicy):
    """
    Sends every observation to a server and waits for the actions until a deadline.

    The protocol numbers neither requests nor replies. After a missed deadline or an error the
    connection is closed, so that a late reply goes nowhere, and an unexpected message is
    an error.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """
        Connect, and read what the server says about itself.

        :raises KeysError: the file of keys is missing, not valid, or not for a client.
        :raises ParameterError: the address is not valid.
        :raises RemoteError: the server does not answer.
        """
        super().__init__(config, load_client_keys(config.keys_file or '', 'openpi'))
        _check_url(config.url)
        self._connection: ClientConnection | None = None
        _logger.info('openpi server %s: %.300s', config.url, self._exchange(None))

    def _ask(self, observation: Observation) -> tuple[object, object]:
        reply = self._exchange(pack(self._keys.pack(observation)))
        timing = reply.get('server_timing') if isinstance(reply, Mapping) else None
        return reply, timing.get('infer_ms') if isinstance(timing, Mapping) else None

    def _exchange(self, message: bytes | None) -> object:
        """
        Send a message and return what comes back, all within the deadline.

        :param message: None: only connect, and return the metadata of the server.
        :raises RemoteError: it failed or took too long.
        """
        exchange = _Exchange(self._url, self._connection, message)
        try:
            reply = exchange.run(self._deadline)
            self._connection = exchange.connection
            return unpack(reply)
        except (RemoteError, MsgpackError) as error:
            self._connection = exchange.connection
            self._close()
            raise self._error(error) from None

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _abort(connection)


class _Exchange:
    """
    One message there and one back, in a thread that is left behind at the deadline.

    A name that is looked up, a socket that is connected to and a server that reads slowly wait
    where no timeout of a library reaches.
    """

    def __init__(self, url: str, connection: ClientConnection | None,
                 message: bytes | None) -> None:
        self.connection = connection
        self._url = url
        self._message = message
        self._is_late = False
        self._lock = threading.Lock()
        self._outcome: SimpleQueue[bytes | Exception] = SimpleQueue()

    def run(self, deadline_s: float) -> bytes:
        """
        Exchange.

        :raises RemoteError: it failed or took too long.
        """
        threading.Thread(target=self._run, args=(deadline_s,), name='openpi', daemon=True).start()
        try:
            outcome = self._outcome.get(timeout=deadline_s)
        except Empty:
            with self._lock:
                self._is_late = True
            if self.connection is not None:
                _abort(self.connection)
            raise RemoteError(f'no reply within {deadline_s:g} s') from None
        if isinstance(outcome, Exception):
            raise RemoteError(_reason(outcome)) from None
        return outcome

    def _run(self, deadline_s: float) -> None:
        try:
            self._outcome.put(self._exchange(deadline_s))
        except Exception as error:  # any error: the waiting thread has to know
            self._outcome.put(error)

    def _exchange(self, deadline_s: float) -> bytes:
        if self.connection is not None and not _is_open(self.connection):
            self.connection = None
        if self.connection is None:
            greeting = self._connect(deadline_s)
            if self._message is None:
                return greeting
        assert self.connection is not None and self._message is not None
        self.connection.send(self._message)
        return _receive(self.connection)

    def _connect(self, deadline_s: float) -> bytes:
        key = os.environ.get(API_KEY_VARIABLE)
        # Entered and never left: its end is that of the process, or _abort.
        connection = connect(
            self._url, open_timeout=deadline_s, compression=None, max_size=_MAX_REPLY,
            additional_headers={'Authorization': f'Api-Key {key}'} if key else None,
            ping_interval=None, proxy=None, close_timeout=1.0).__enter__()
        with self._lock:
            self.connection = connection
            if self._is_late:
                _abort(connection)
        return _receive(connection)


def _receive(connection: ClientConnection) -> bytes:
    """
    Wait for a message.

    :raises RemoteError: it is text, which is how a server reports an error.
    """
    message = connection.recv()
    if isinstance(message, str):
        raise RemoteError(read_text_error(message))
    return message


def _is_open(connection: ClientConnection) -> bool:
    """
    Check a connection that was kept.

    :raises RemoteError: an unexpected message came.
    """
    try:
        connection.recv(timeout=0)
    except TimeoutError:
        return True
    except ConnectionClosed:
        return False
    raise RemoteError('an unexpected message came')


def _abort(connection: ClientConnection) -> None:
    """End what waits for a connection in another thread."""
    with suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, RemoteError):
        return str(error)
    if isinstance(error, (OSError, WebSocketException, ValueError)):
        return ' '.join(str(error).split()) or type(error).__name__
    _logger.error('exchange with an openpi server', exc_info=error)
    return type(error).__name__


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        if parts.scheme in ('ws', 'wss') and parts.hostname and parts.port != 0:
            return
    except ValueError:
        pass  # a port that is none
    raise ParameterError('url', url, 'like ws://gpu-machine:8000')
