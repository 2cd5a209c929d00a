# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One viewer's connection: it gets the newest of everything, at its own pace."""

import asyncio
from collections import deque

from starlette.websockets import WebSocket

from vla_ros.server.panel.messages import Message
from vla_ros.server.panel.messages import pack_image
from vla_ros.server.panel.messages import read_message
from vla_ros.server.panel.messages import write
from vla_ros.server.panel.robot import CameraImage

#: Images that may be in flight to a viewer: one is drawn while the next one is sent.
_IMAGES_AHEAD = 2
#: Replies that wait to be sent; a page that gets none asks for no more.
_REPLIES = 8


class Viewer:
    """
    Sends what is new, and nothing that a newer one has replaced.

    A page says of each state and each image that it has drawn it. Nothing is sent on top of what
    a slow page has not drawn yet, so that it skips images, and costs no memory.
    """

    def __init__(self, websocket: WebSocket, name: str) -> None:
        self._websocket = websocket
        self.name = name
        self._news = asyncio.Event()
        self._replies: deque[str] = deque(maxlen=_REPLIES)
        self._state: str | None = None
        self._is_state_ahead = False
        self._images: dict[str, CameraImage] = {}
        self._images_ahead = 0

    def show_state(self, state: str) -> None:
        """Send a state, unless a newer one comes first."""
        self._state = state
        self._news.set()

    def show_image(self, image: CameraImage) -> None:
        """Send an image, unless a newer one of the same camera comes first."""
        self._images[image.camera] = image
        self._news.set()

    def reply(self, reply: str) -> None:
        """Send a reply."""
        self._replies.append(reply)
        self._news.set()

    def seen(self, what: str) -> None:
        """Record that the page has drawn something."""
        if what == 'state':
            self._is_state_ahead = False
        else:
            self._images_ahead = max(0, self._images_ahead - 1)
        self._news.set()

    async def receive(self) -> Message | None:
        """
        Wait for a message.

        :returns: None at the end of the connection.
        :raises VlaError: it is none of the protocol's.
        """
        event = await self._websocket.receive()
        if event['type'] != 'websocket.receive':
            return None
        return read_message(event.get('text'))

    async def send_news(self) -> None:
        """Send until the connection ends."""
        await self._websocket.send_text(write({'type': 'hello', 'you': self.name}))
        while True:
            await self._news.wait()
            self._news.clear()
            while self._replies:
                await self._websocket.send_text(self._replies.popleft())
            if self._state is not None and not self._is_state_ahead:
                state, self._state = self._state, None
                self._is_state_ahead = True
                await self._websocket.send_text(state)
            while self._images and self._images_ahead < _IMAGES_AHEAD:
                image = self._images.pop(next(iter(self._images)))
                self._images_ahead += 1
                await self._websocket.send_bytes(pack_image(image))
