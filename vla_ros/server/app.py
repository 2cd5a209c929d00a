# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The ASGI application of ``vla_serve``: routes, the key, and the size of a request."""

from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import asynccontextmanager
import hmac
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import PlainTextResponse
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send
from starlette.websockets import WebSocketClose

from vla_ros.policy.base import Policy
from vla_ros.server.batching import BatchCollector
from vla_ros.server.openapi import describe as describe_api
from vla_ros.server.rest import Reply
from vla_ros.server.rest import Service

#: Bytes of the largest request that is read.
MAX_BYTES = 64 * 2**20
#: Requests that wait for the policy.
MAX_WAITING = 64
# What was refused before its body was read ends the connection.
_CLOSE = {'Connection': 'close'}


def create_app(policy: Policy, *, api_key: str | None = None, max_bytes: int = MAX_BYTES,
               max_batch: int = 8, max_wait_s: float = 0.005, strict: bool = False,
               undecided: Sequence[str] = ()) -> Starlette:
    """
    Make the application, for any ASGI server to run or any other application to mount.

    :param policy: one action a chunk is served as OpenVLA's server does, several as OFT's.
    :param api_key: what every request must carry as ``Authorization: Bearer KEY``; None: nothing.
    :param max_batch: see :class:`vla_ros.server.batching.BatchCollector`.
    :param max_wait_s: likewise.
    :param strict: see :class:`vla_ros.server.rest.Service`.
    :param undecided: likewise.
    """
    collector = BatchCollector(policy, max_batch, max_wait_s, MAX_WAITING)
    service = Service(policy, collector, strict, undecided)
    # Each request that waits holds a thread; what does not fit is refused by the collector.
    threads = CapacityLimiter(2 * MAX_WAITING)

    def make_endpoint(
            function: Callable[[bytes, str], Reply]) -> Callable[..., Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                body = await _read_body(request, max_bytes)
            except ClientDisconnect:
                return Response()  # the client is gone
            client = request.client.host if request.client else ''
            return _response(await run_sync(function, body, client, limiter=threads))
        return endpoint

    async def describe(request: Request) -> Response:
        return _response(service.spec())

    async def count(request: Request) -> Response:
        return _response(service.statistics())

    api = describe_api(policy.spec.action_shape[0] > 1, strict, api_key is not None)

    async def describe_itself(request: Request) -> Response:
        return JSONResponse(api)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_sync(collector.close)

    app = Starlette(
        routes=[Route('/spec', describe, methods=['GET']),
                Route('/openapi.json', describe_itself, methods=['GET']),
                health_route(collector),
                Route('/stats', count, methods=['GET']),
                Route('/act', make_endpoint(service.act), methods=['POST']),
                Route('/infer', make_endpoint(service.infer), methods=['POST'])],
        lifespan=lifespan,
        middleware=key_check(api_key),
        exception_handlers={HTTPException: _refuse})
    app.state.collector = collector
    return app


def health_route(collector: BatchCollector) -> Route:
    """Report at ``/healthz`` whether inference works; a lost device needs a new process."""
    async def report(request: Request) -> Response:
        if collector.lost is not None:
            return PlainTextResponse(f'{collector.lost}\n', 503)
        return PlainTextResponse('OK\n')
    return Route('/healthz', report, methods=['GET'])


def key_check(api_key: str | None) -> list[Middleware]:
    """Return the middleware that wants a key; none where None is given."""
    return [Middleware(_KeyCheck, api_key=api_key)] if api_key else []


class _KeyCheck:
    """ASGI middleware: nothing of the application is reached without the key."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] == 'lifespan' or self._holds_key(scope):
            await self._app(scope, receive, send)
        elif scope['type'] == 'websocket':
            await WebSocketClose()(scope, receive, send)  # the server replies 403
        else:
            refusal = JSONResponse({'detail': 'Unauthorized'}, 401, _CLOSE)
            await refusal(scope, receive, send)

    def _holds_key(self, scope: Scope) -> bool:
        given: bytes = dict(scope['headers']).get(b'authorization', b'')
        # openpi's clients say Api-Key.
        given = given.removeprefix(b'Bearer ').removeprefix(b'Api-Key ')
        return hmac.compare_digest(given, self._api_key)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """
    Read a body, and no more of it than is allowed.

    :raises HTTPException: it is too large.
    """
    too_large = HTTPException(413, f'Content Too Large: at most {max_bytes} bytes', _CLOSE)
    announced = request.headers.get('content-length', '0')
    if len(announced) > 12 or int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, reply.headers, 'application/json')


async def _refuse(request: Request, error: Any) -> Response:
    return JSONResponse({'detail': error.detail}, error.status_code, error.headers)
