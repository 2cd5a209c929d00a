# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Runs an ASGI application by uvicorn, with limits that uvicorn has no settings for.

uvicorn bounds the size of a header, the time between two requests and the time to shut down. It
waits forever for the first request of a connection, for the rest of a request, and for a client
that does not read its reply; and it counts a connection only when its request has come.
"""

import asyncio
from dataclasses import dataclass
import logging
from pathlib import Path
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vla_ros.errors import ParameterError

_logger = logging.getLogger(__name__)

#: Seconds that a client may be silent, or take to read a reply.
READ_TIMEOUT = 10.0
#: Seconds from the first byte of a request to its last.
REQUEST_TIMEOUT = 30.0
#: Connections at a time; a robot has one.
MAX_CONNECTIONS = 64
# Seconds that replies get to leave after SIGINT or SIGTERM.
_SHUTDOWN_TIMEOUT = 5


@dataclass(frozen=True)
class WebSockets:
    """
    Limits of websockets.

    :param max_bytes: of the largest message that is read.
    :param ping_interval: seconds between two pings.
    :param ping_timeout: seconds within which the client has to reply.
    """

    max_bytes: int
    ping_interval: float = 5.0
    ping_timeout: float = 5.0


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, in which no client holds a connection by being slow or silent."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._timer: asyncio.TimerHandle | None = None
        self._request_end: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection if there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            _logger.info('connection from %s refused: there are %d', self.client, MAX_CONNECTIONS)
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Handle a piece of a request."""
        if self._request_end is None:
            self._request_end = self.loop.time() + REQUEST_TIMEOUT
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request, of which a part may have come."""
        super().on_response_complete()
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to the websocket's own limits."""
        self._set_timer(None)
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """Wait for a client that does not read."""
        super().pause_writing()
        self._set_timer(READ_TIMEOUT)

    def resume_writing(self) -> None:
        """Continue."""
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Discard the connection."""
        self._set_timer(None)
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Set the time until which something must come, if it is the client's turn."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            self._set_timer(None)
        elif self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            left = (READ_TIMEOUT if self._request_end is None
                    else self._request_end - self.loop.time())
            self._set_timer(min(READ_TIMEOUT, left))
        else:
            self._request_end = None
            self._set_timer(None)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        _logger.info('connection from %s ended: it was silent, or too slow', self.client)
        self.transport.abort()


def listen(host: str, port: int) -> socket.socket:
    """
    Open the port.

    :raises ParameterError: it cannot be listened to.
    """
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM,
                                    flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ParameterError('--host, --port', (host, port),
                             f'a free address of this machine ({error})') from None


def make_server(app: Any, certificate: Path | None = None, key: Path | None = None,
                name: str = 'vla_serve', websockets: WebSockets | None = None) -> uvicorn.Server:
    """
    Make the server of an application; ``run(sockets=[…])`` serves until SIGINT or SIGTERM.

    :param certificate: PEM file of the certificate chain, for TLS.
    :param key: PEM file of its key.
    :param name: what it calls itself in its replies.
    :param websockets: their limits; None: there are none.
    :raises ParameterError: the files are no certificate and its key.
    :raises ModuleNotFoundError: what websockets need is not installed.
    """
    limits = websockets or WebSockets(0)
    config = uvicorn.Config(
        app, http=LimitedProtocol, ws='websockets-sansio' if websockets else 'none',
        ws_max_size=limits.max_bytes, ws_ping_interval=limits.ping_interval,
        ws_ping_timeout=limits.ping_timeout, ws_per_message_deflate=False,
        log_config=None, log_level='warning',
        access_log=False, server_header=False, headers=[('server', name)],
        proxy_headers=False, timeout_keep_alive=int(READ_TIMEOUT) + 1,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT, ssl_certfile=certificate, ssl_keyfile=key)
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise ParameterError('--tls-certificate, --tls-key', f'{certificate}, {key}',
                             f'PEM files of a certificate and its key ({error})') from None
    return uvicorn.Server(config)
