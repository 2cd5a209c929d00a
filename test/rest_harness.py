# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A server of the REST protocol with a policy that is a stub, and clients of it."""

from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
import threading
import time

from goldens import GOLDENS
import numpy as np

from vla_ros.errors import InvalidAction
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.server.app import create_app
from vla_ros.server.uvicorn_server import listen
from vla_ros.server.uvicorn_server import make_server

ACTION = np.array(GOLDENS['rest_protocol']['stub_action'])
SPEC = PolicySpec('x', 'bridge_orig', (1, 7), 1, 0, 'cpu', 'float32', 'sdpa', 'asked for', 'none')
IMAGE = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


class Stub:
    """Predicts the stub action of the goldens, and keeps its observations."""

    spec = SPEC

    def __init__(self, rows=1):
        self.actions = np.tile(ACTION, (rows, 1))
        self.seen = []
        self.busy = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def rescale(self, chunk, key):
        return chunk.actions

    def infer(self, observation):
        self.seen.append(observation)
        self.busy.set()
        assert self.go.wait(30)
        if observation.instruction == 'mumble':
            raise InvalidAction('a word', (1, 2), (0,), 'In: mumble', (3,))
        if observation.instruction == 'crash':
            raise RuntimeError('secret')
        actions = self.actions + (observation.instruction == 'late')
        return ActionChunk(actions, actions, (31999,), (0,), np.array([0.5], np.float32),
                           'In: ...', (1, 512), {'decode': 2.0}, 0.2, 6, 5)


@contextmanager
def serving(policy, oft=False, key=None, tls=(), **settings):
    if oft:
        policy.spec = replace(policy.spec, action_shape=(2, 7))
    app = create_app(policy, api_key=key, **{'max_bytes': 2**20, **settings})
    with running(app, tls) as port:
        yield port


@contextmanager
def running(app, tls=(), **settings):
    """Run an application; yield its port."""
    server = make_server(app, *tls, **settings)
    listener = listen('127.0.0.1', 0)
    thread = threading.Thread(target=server.run, kwargs={'sockets': [listener]})
    thread.start()
    try:
        end = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive() and time.monotonic() < end
            time.sleep(0.005)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def post(port, body, path='/act', **headers):
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('POST', path, body, {'Content-Type': 'application/json', **headers})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.getheader('Content-Type'), content.decode()


def remote(port, **settings):
    return load_policy(PolicyConfig(policy='remote', url=f'http://127.0.0.1:{port}', **settings))


def ask_spec(connection):
    """Ask for the spec over a connection that stays open."""
    connection.settimeout(30)
    connection.sendall(b'GET /spec HTTP/1.1\r\nHost: x\r\n\r\n')
    reply = b''
    while not reply.endswith(b'}'):
        piece = connection.recv(1000)
        assert piece, reply
        reply += piece
    assert reply.startswith(b'HTTP/1.1 200')
