# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A fake robot, the server of its page, and viewers of the page."""

from concurrent.futures import Future
from contextlib import contextmanager
import json
import socket
import struct
import threading
import time

import pytest
from rest_harness import running
from vla_ros.server.panel.app import create_app
from vla_ros.server.panel.messages import MAX_BYTES
from vla_ros.server.panel.robot import CameraImage
from vla_ros.server.panel.robot import Outcome
from vla_ros.server.uvicorn_server import WebSockets

websockets = pytest.importorskip('websockets.sync.client')

#: Timeout of every wait in seconds, for a busy machine.
DEADLINE = 30.0


class FakeRobot:
    """Keeps the commands of the page; ``outcomes`` sets that of each service."""

    def __init__(self):
        self.changed = threading.Condition()
        self.done = []
        self.is_stop_pressed = False
        self.services = ('hold', 'rearm')
        self.outcomes = {}
        self.show = None

    def _do(self, *what):
        with self.changed:
            self.done.append(what)
            self.changed.notify_all()

    def press_stop(self):
        self.is_stop_pressed = True
        self._do('stop')

    def release_stop(self):
        self.is_stop_pressed = False
        self._do('release')

    def instruct(self, instruction):
        self._do('instruct', instruction)
        return Outcome(True)

    def call(self, service):
        self._do('call', service)
        return self._outcome_of(service)

    def start_task(self, task):
        self._do('start_task', task)
        return self._outcome_of('start_task')

    def _outcome_of(self, service):
        future = Future()
        outcome = self.outcomes.get(service, Outcome(True, service))
        if outcome is not None:
            future.set_result(outcome)
        return future

    def state(self):
        return {'services': self.services, 'stop': {'pressed': self.is_stop_pressed}}

    def stream(self, show):
        with self.changed:
            self.show = show
            self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), DEADLINE), self.done

    def wait_for(self, *what):
        self.wait(lambda robot: what in robot.done)


class Client:
    """A viewer that acknowledges messages, unless ``is_attentive`` is false."""

    def __init__(self, port, is_attentive=True, **settings):
        self._connection = websockets.connect(
            f'ws://127.0.0.1:{port}/ws', open_timeout=DEADLINE, compression=None,
            max_size=None, **settings).__enter__()
        self.is_attentive = is_attentive
        self.number = 0
        self.images = []
        self.me = json.loads(self._connection.recv(DEADLINE))['you']

    def send(self, **message):
        self._connection.send(json.dumps(message))

    def receive(self):
        """Return the next message; of an image return its details, and keep it."""
        data = self._connection.recv(DEADLINE)
        if isinstance(data, bytes):
            (length,) = struct.unpack('>I', data[:4])
            details = json.loads(data[4:4 + length])
            self.images.append((details, data[4 + length:]))
            message = {'type': 'image', **details}
        else:
            message = json.loads(data)
        if self.is_attentive and message['type'] in ('image', 'state'):
            self.send(type='seen', what=message['type'])
        return message

    def wait(self, condition):
        """Return the first message that fulfils a condition."""
        end = time.monotonic() + DEADLINE
        while not condition(message := self.receive()):
            assert time.monotonic() < end, message
        return message

    def ask(self, kind, **details):
        """Send a command and return its reply."""
        self.number += 1
        self.send(type=kind, id=self.number, **details)
        reply = self.wait(lambda message: message['type'] == 'reply'
                          and message['id'] == self.number)
        return reply['ok'], reply['message']

    def send_raw(self, data):
        self._connection.send(data)

    def cut(self):
        """Shut the connection down, like a broken cable."""
        self._connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._connection.close()


@contextmanager
def panel(robot=None, tls=(), **settings):
    """Serve a page; yield its robot and its port."""
    robot = robot or FakeRobot()
    app = create_app(robot, **settings)
    with running(app, tls, name='vla_panel', websockets=WebSockets(MAX_BYTES)) as port:
        yield robot, port


def camera_image(camera='camera/image_raw', jpeg=b'jpeg'):
    return CameraImage(camera, jpeg, {'width': 4, 'height': 3, 'age': 0.1})
