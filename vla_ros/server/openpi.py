# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The ASGI application of ``vla_serve --protocol openpi``: openpi's clients get actions from it.

The protocol is that of openpi's ``WebsocketPolicyServer``: the server says what it is, then each
binary message is an observation, and the reply a map with ``actions``; a reply in text is an
error. Unlike there an error is one line, not a traceback, and leaves the connection open.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
import logging
import time
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import Response
from starlette.routing import Route
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from starlette.websockets import WebSocketDisconnect

from vla_ros.data.msgpack_numpy import pack
from vla_ros.data.msgpack_numpy import unpack
from vla_ros.errors import UnsupportedError
from vla_ros.errors import VlaError
from vla_ros.policy.base import Policy
from vla_ros.policy.observation_keys import ObservationKeys
from vla_ros.server.app import health_route
from vla_ros.server.app import key_check
from vla_ros.server.app import MAX_WAITING
from vla_ros.server.batching import BatchCollector
import websockets  # noqa: F401  (uvicorn speaks by it, and imports it late)

_logger = logging.getLogger(__name__)


def create_openpi_app(policy: Policy, keys: ObservationKeys, *, api_key: str | None = None,
                      max_batch: int = 8, max_wait_s: float = 0.005) -> Starlette:
    """
    Make the application, for any ASGI server that knows websockets.

    :param keys: where an observation holds images, state and prompt.
    :param api_key: what a client must carry as ``Authorization: Api-Key KEY``; None: nothing.
    :param max_batch: see :class:`vla_ros.server.batching.BatchCollector`.
    :param max_wait_s: likewise.
    :raises UnsupportedError: the keys do not hold what the policy wants.
    """
    _check(policy, keys)
    collector = BatchCollector(policy, max_batch, max_wait_s, MAX_WAITING)
    service = _Service(policy, keys, collector)
    threads = CapacityLimiter(2 * MAX_WAITING)

    async def serve(websocket: WebSocket) -> None:
        client = websocket.client.host if websocket.client else ''
        await websocket.accept()
        try:
            await _send(websocket, service.greeting)
            while True:
                message = await websocket.receive()
                if message['type'] == 'websocket.disconnect':
                    return
                data = message.get('bytes')
                reply = await run_sync(service.infer, data, client, limiter=threads)
                await _send(websocket, reply)
        except WebSocketDisconnect:
            pass  # the client is gone

    async def count(request: Request) -> Response:
        return JSONResponse(collector.statistics())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_sync(collector.close)

    return Starlette(
        routes=[WebSocketRoute('/', serve), health_route(collector),
                Route('/stats', count, methods=['GET'])],
        lifespan=lifespan, middleware=key_check(api_key))


async def _send(websocket: WebSocket, reply: bytes | str) -> None:
    """
    Send a message.

    :raises WebSocketDisconnect: the client has gone.
    """
    try:
        await (websocket.send_text(reply) if isinstance(reply, str)
               else websocket.send_bytes(reply))
    except RuntimeError:  # uvicorn's, where it closed the connection after a malformed frame
        raise WebSocketDisconnect from None


class _Service:
    """One policy behind the protocol: a message in, a message out."""

    def __init__(self, policy: Policy, keys: ObservationKeys, collector: BatchCollector) -> None:
        self._spec = policy.spec
        self._keys = keys
        self._collector = collector
        self.greeting = pack(asdict(policy.spec))

    def infer(self, data: bytes | None, client: str) -> bytes | str:
        """Return the actions as msgpack, or in one line of text why there are none."""
        received = time.monotonic()
        try:
            if data is None:
                return 'an observation is a binary message of msgpack, not text'
            observation = self._keys.unpack(unpack(data), self._spec.image_count,
                                            self._spec.proprio_dim)
            chunk = self._collector.infer(observation, client)
            if not np.isfinite(chunk.actions).all():
                return 'the policy gave a number that is not finite'
            actions: Any = chunk.actions.astype(np.float32)
            outer, *inner = self._keys.actions[0]
            for name in reversed(inner):
                actions = {name: actions}
            return pack({outer: actions, 'server_timing': {
                'infer_ms': (time.monotonic() - received) * 1e3}})
        except VlaError as error:
            _logger.warning('%s: %s', client, error)
            return str(error)
        except Exception as error:  # any error: the client gets it in its protocol
            _logger.error('internal error', exc_info=error)
            return f'internal error ({type(error).__name__})'


def _check(policy: Policy, keys: ObservationKeys) -> None:
    spec = policy.spec
    if len(keys.images) < spec.image_count:
        raise UnsupportedError(
            f'checkpoint {spec.checkpoint}', f'it wants {spec.image_count} images, the file of '
            f'keys has {len(keys.images)}', 'name a file with more in --keys-file')
    if spec.proprio_dim and keys.state_length != spec.proprio_dim:
        raise UnsupportedError(
            f'checkpoint {spec.checkpoint}', f'it wants a state of {spec.proprio_dim} numbers, '
            f'the file of keys has {keys.state_length}', 'name another file in --keys-file')
    if len(keys.actions) > 1:
        raise UnsupportedError('--keys-file', 'it has actions.parts, and a reply has one array',
                               'name a file with actions.key')
