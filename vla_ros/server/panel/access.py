# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Access to the page: the token, and the refusal of requests of other sites."""

import hashlib
import hmac
from http.cookies import CookieError
from http.cookies import SimpleCookie
import secrets
from urllib.parse import parse_qs
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.responses import PlainTextResponse
from starlette.responses import RedirectResponse
from starlette.responses import Response
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from vla_ros.server.panel.files import PAGE

_LOCAL_NAMES = ('localhost', '127.0.0.1', '::1')
#: What is served without the token: what asks for it, and what that looks like.
_PUBLIC = ('/login', '/panel.css')
_MAX_FORM = 4096
_HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff', 'X-Frame-Options': 'DENY',
    # Without a referrer a browser would send the form with the origin "null".
    'Referrer-Policy': 'same-origin', 'Cache-Control': 'no-store'}


class Access:
    """
    ASGI middleware: only permitted requests reach the application.

    A page of another site, open in the operator's browser, can connect to this server, too, and
    the browser sends the cookie along. What tells it apart is its ``Origin``; a name of that
    site's own that leads here is told apart by ``Host``.
    """

    def __init__(self, app: ASGIApp, token: str | None, is_local: bool) -> None:
        """
        Prepare.

        :param token: what a viewer must know; None: nothing.
        :param is_local: the server listens to this machine alone.
        """
        self._app = app
        self._token = token.encode() if token else None
        self._is_local = is_local
        # What the browser keeps is worth nothing once this process has ended.
        self._session = hmac.new(secrets.token_bytes(32), self._token or b'',
                                 hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or let it through."""
        if scope['type'] == 'lifespan':
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_own(scope, headers):
            await _refuse(403, 'a request from another site', scope, receive, send)
        elif scope['type'] == 'http' and scope['path'] == '/login':
            await self._log_in(scope, receive, _with_headers(send))
        elif scope['path'] in _PUBLIC or self._knows_token(scope, headers):
            await self._app(scope, receive,
                            _with_headers(send) if scope['type'] == 'http' else send)
        elif scope['type'] == 'http' and scope['path'] == '/':
            page = FileResponse(PAGE / 'login.html', 401)
            await page(scope, receive, _with_headers(send))
        else:
            await _refuse(401, 'the token is missing', scope, receive, send)

    def _is_own(self, scope: Scope, headers: Headers) -> bool:
        host, origin = headers.get('host', ''), headers.get('origin')
        if self._is_local and urlsplit(f'//{host}').hostname not in _LOCAL_NAMES:
            return False
        return origin is None or urlsplit(origin).netloc == host

    def _knows_token(self, scope: Scope, headers: Headers) -> bool:
        if self._token is None:
            return True
        given = headers.get('authorization', '').removeprefix('Bearer ').encode()
        cookie = _cookies(headers).get(_cookie_name(scope))
        return hmac.compare_digest(given, self._token) or (
            cookie is not None and hmac.compare_digest(cookie.encode(), self._session.encode()))

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method != 'POST':
            await RedirectResponse('/', 303)(scope, receive, send)
            return
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MAX_FORM:
                await _refuse(413, 'too large', scope, receive, send)
                return
        given = parse_qs(body.decode('latin-1')).get('token', [''])[0].strip()
        response: Response
        if self._token is not None and not hmac.compare_digest(given.encode(), self._token):
            response = FileResponse(PAGE / 'login.html', 401)
        else:
            response = RedirectResponse('/', 303)
            response.set_cookie(_cookie_name(scope), self._session, httponly=True,
                                secure=scope['scheme'] == 'https', samesite='strict')
        await response(scope, receive, send)


def _cookie_name(scope: Scope) -> str:
    """Return a name of its own to each server of a machine: cookies know no ports."""
    return f'vla_panel_{(scope.get("server") or ("", 0))[1]}'


def _cookies(headers: Headers) -> dict[str, str]:
    try:
        return {name: one.value for name, one in SimpleCookie(headers.get('cookie', '')).items()}
    except CookieError:
        return {}


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message['type'] == 'http.response.start':
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)
    return send_with_headers


async def _refuse(status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope['type'] == 'websocket':
        await receive()
        await send({'type': 'websocket.close', 'code': 1008, 'reason': reason})
    else:
        await PlainTextResponse(f'{reason}\n', status)(scope, receive, send)
