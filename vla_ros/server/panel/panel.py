# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Several viewers of one robot, of whom one is in control."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from collections.abc import Mapping
from contextlib import suppress
import itertools
import logging
import math
import time
from typing import Any

from starlette.websockets import WebSocket
from starlette.websockets import WebSocketDisconnect

from vla_ros.errors import VlaError
from vla_ros.server.panel.control import Control
from vla_ros.server.panel.messages import Message
from vla_ros.server.panel.messages import write
from vla_ros.server.panel.robot import CameraImage
from vla_ros.server.panel.robot import Outcome
from vla_ros.server.panel.robot import Robot
from vla_ros.server.panel.robot import TaskRequest
from vla_ros.server.panel.viewer import Viewer

_logger = logging.getLogger(__name__)

#: Viewers at a time.
MAX_VIEWERS = 40
#: Seconds between two states.
STATE_PERIOD = 0.1
#: Seconds after which a silent viewer in control counts as lost: the arm is held.
LOST_AFTER = 2.0
#: Seconds within which a service has to respond.
CALL_TIMEOUT = 3.0
#: Seconds within which a hold has to succeed; then the software stop is pressed.
_HOLD_TIMEOUT = 0.5
#: Events that a page shows.
_EVENTS = 30
#: Services that every viewer may call: they only ever bring the arm to rest.
_FOR_ALL = ('hold',)
#: States that re-arming ends; in others it could only end a shadow, which ``live`` is for.
_REARMED = ('HOLD', 'ESTOP', 'FAULT')
#: Seconds for which a second re-arming is refused: the first one of a double click may have been
#: done before the state that it led to has arrived here.
_REARM_PAUSE = 1.0
#: Websocket close codes: policy violation, try again later.
_REFUSED, _FULL = 1008, 1013


class Panel:
    """Sends the viewers' commands to the robot, and its state and images to the viewers."""

    def __init__(self, robot: Robot, lost_after: float = LOST_AFTER) -> None:
        self._robot = robot
        self._control = Control(lost_after)
        self._viewers: dict[str, Viewer] = {}
        self._numbers = itertools.count(1)
        self._busy: set[str] = set()
        self._rearmed = -math.inf
        self._tasks: set[asyncio.Task[None]] = set()
        self._events: deque[dict[str, object]] = deque(maxlen=_EVENTS)

    async def run(self) -> None:
        """Send the state and check the viewer in control, until cancelled."""
        while True:
            try:
                holder = self._control.holder
                if self._control.drop_lost(time.monotonic()):
                    self._note(holder, 'fell silent')
                    self._start(self._hold(holder))
                self._show_state()
            except Exception:
                _logger.exception('the state could not be shown; the next one is tried')
            await asyncio.sleep(STATE_PERIOD)

    async def close(self) -> None:
        """Wait for what is under way, after the last connection has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one viewer until the connection ends; if that was in control, the arm is held."""
        if len(self._viewers) >= MAX_VIEWERS:
            await websocket.close(_FULL)
            return
        viewer = Viewer(websocket, f'viewer {next(self._numbers)}')
        await websocket.accept()
        self._viewers[viewer.name] = viewer
        if len(self._viewers) == 1:
            loop = asyncio.get_running_loop()
            self._robot.stream(lambda image: self._hand_over(loop, image))
        sender = asyncio.ensure_future(viewer.send_news())
        try:
            with suppress(WebSocketDisconnect):
                await self._listen(viewer, sender)
        except VlaError as error:
            _logger.info('%s is refused: %s', viewer.name, error)
            with suppress(WebSocketDisconnect, RuntimeError):
                await websocket.close(_REFUSED, str(error)[:120])
        finally:
            self._leave(viewer)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    def press_stop(self, by: str) -> None:
        """Press the software stop at once, for any viewer."""
        is_news = not self._robot.is_stop_pressed
        self._robot.press_stop()
        if is_news:  # a page asks on two ways
            self._note(by, 'pressed the software stop')
        self._show_state()

    async def _listen(self, viewer: Viewer, sender: 'asyncio.Future[None]') -> None:
        while not sender.done():
            message = await viewer.receive()
            if message is None:
                return
            self._control.keep_alive(viewer.name, time.monotonic())
            if message.kind == 'seen':
                viewer.seen(message.text)
            elif message.kind == 'stop':
                self.press_stop(viewer.name)
                self._reply(viewer, message, Outcome(True))
            elif message.kind in ('take', 'release'):
                self._reply(viewer, message, self._change_control(viewer, message))
            else:
                self._command(viewer, message)

    def _change_control(self, viewer: Viewer, message: Message) -> Outcome:
        before = self._control.holder
        if message.kind == 'release':
            outcome = self._control.release(viewer.name)
        else:
            outcome = self._control.take(viewer.name, time.monotonic(), message.force)
        if self._control.holder != before:
            self._note(viewer.name, f'took control from {before}' if before and message.force
                       else 'took control' if self._control.holder else 'released control')
        return outcome

    def _command(self, viewer: Viewer, message: Message) -> None:
        refusal = ('' if message.kind == 'call' and message.text in _FOR_ALL
                   else self._control.refuse(viewer.name))
        if viewer.name in self._busy and not refusal:
            refusal = 'the command before this one is not done yet'
        if message.kind == 'call' and message.text == 'rearm' and not refusal:
            refusal = self._refuse_rearm()
        if refusal:
            self._reply(viewer, message, Outcome(False, refusal))
        else:
            self._busy.add(viewer.name)
            self._start(self._execute(viewer, message))

    async def _execute(self, viewer: Viewer, message: Message) -> None:
        try:
            if message.kind == 'release_stop':
                await asyncio.to_thread(self._robot.release_stop)
                outcome = Outcome(True)
            elif message.kind == 'instruct':
                outcome = self._robot.instruct(message.text)
            elif message.task is not None:
                outcome = await self._call('start_task', CALL_TIMEOUT, message.task)
            else:
                outcome = await self._call(message.text, CALL_TIMEOUT)
                if message.text == 'rearm' and outcome.ok:
                    self._rearmed = time.monotonic()
        finally:
            self._busy.discard(viewer.name)
        what = {'call': message.text, 'instruct': f'instruction {message.text!r}',
                'start_task': f'task {message.text!r}'}.get(message.kind, 'release the stop')
        self._note(viewer.name, f'{what}: {"done" if outcome.ok else "refused"}'
                   + (f': {outcome.message}' if outcome.message else ''))
        self._reply(viewer, message, outcome)

    def _refuse_rearm(self) -> str:
        status = self._robot.state().get('status')
        state = status['state'] if isinstance(status, Mapping) else None
        if time.monotonic() < self._rearmed + _REARM_PAUSE:
            return 'the arm was re-armed just now: check the state first'
        if state is not None and state not in _REARMED:
            return f'there is nothing to re-arm in the state {state}'
        return ''

    async def _call(self, service: str, timeout: float,
                    task: TaskRequest | None = None) -> Outcome:
        services = self._robot.state().get('services', ())
        if service not in services or (  # type: ignore[operator]
                service == 'start_task' and task is None):
            return Outcome(False, f'there is no service {service[:80]!r} on the graph')
        try:
            future = self._robot.call(service) if task is None else self._robot.start_task(task)
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except asyncio.TimeoutError:
            return Outcome(False, f'no response for {timeout:g} s')

    async def _hold(self, holder: str) -> None:
        """Hold the arm of a viewer that is gone; press the stop if that fails."""
        outcome = await self._call('hold', _HOLD_TIMEOUT)
        if outcome.ok:
            self._note(holder, 'was in control and is gone: the arm is held')
        else:
            self._robot.press_stop()
            self._note(holder, 'was in control and is gone, and the arm could not be held '
                       f'({outcome.message}): the software stop is pressed')

    def _leave(self, viewer: Viewer) -> None:
        del self._viewers[viewer.name]
        if not self._viewers:
            self._robot.stream(None)
        if self._control.drop(viewer.name):
            self._start(self._hold(viewer.name))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: 'asyncio.Task[None]') -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _logger.error('a command failed', exc_info=task.exception())

    def _hand_over(self, loop: asyncio.AbstractEventLoop, image: CameraImage) -> None:
        """Accept an image from a thread of the robot."""
        with suppress(RuntimeError):  # the loop has just been closed
            loop.call_soon_threadsafe(self._show_image, image)

    def _show_image(self, image: CameraImage) -> None:
        for viewer in self._viewers.values():
            viewer.show_image(image)

    def _show_state(self) -> None:
        if self._viewers:
            state = write({'type': 'state', **self._robot.state(), 'events': list(self._events),
                           'control': self._control.holder, 'viewers': len(self._viewers)})
            for viewer in self._viewers.values():
                viewer.show_state(state)

    def _reply(self, viewer: Viewer, message: Message, outcome: Outcome) -> None:
        viewer.reply(write({'type': 'reply', 'id': message.number, 'ok': outcome.ok,
                            'message': outcome.message}))
        self._show_state()

    def _note(self, viewer: str, what: str) -> None:
        _logger.info('%s %s', viewer, what)
        self._events.append({'time': time.time(), 'text': f'{viewer} {what}'})
