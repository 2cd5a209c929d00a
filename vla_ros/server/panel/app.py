# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The ASGI application of ``vla_panel``: the page, its websocket, and the stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import Response
from starlette.routing import Mount
from starlette.routing import Route
from starlette.routing import WebSocketRoute
from starlette.staticfiles import StaticFiles

from vla_ros.server.panel.access import Access
from vla_ros.server.panel.files import PAGE
from vla_ros.server.panel.panel import LOST_AFTER
from vla_ros.server.panel.panel import Panel
from vla_ros.server.panel.robot import Robot


def create_app(robot: Robot, *, token: str | None = None, is_local: bool = True,
               lost_after: float = LOST_AFTER) -> Starlette:
    """
    Make the application.

    :param token: what a viewer must know; None: nothing.
    :param is_local: the server listens to this machine alone; then only its own names lead to it.
    :param lost_after: seconds after which a silent viewer in control counts as lost.
    """
    panel = Panel(robot, lost_after)

    @asynccontextmanager
    async def run(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.ensure_future(panel.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await panel.close()

    async def stop(request: Request) -> Response:
        # Beside the websocket: a stop must not depend on its being there.
        panel.press_stop(request.client.host if request.client else 'an unknown address')
        return JSONResponse({'pressed': True})

    return Starlette(
        routes=[WebSocketRoute('/ws', panel.serve),
                Route('/stop', stop, methods=['POST']),
                Mount('/', StaticFiles(directory=PAGE, html=True))],
        middleware=[Middleware(Access, token=token, is_local=is_local)], lifespan=run)
