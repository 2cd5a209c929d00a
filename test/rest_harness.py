# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A server of the REST protocol with a policy that is a stub, and clients of it."""

from contextlib import contextmanager
from http.client import HTTPConnection
import threading

from goldens import GOLDENS
import numpy as np

from vla_ros.errors import InvalidAction
from vla_ros.policy import ActionChunk
from vla_ros.policy import load_policy
from vla_ros.policy import PolicyConfig
from vla_ros.policy import PolicySpec
from vla_ros.rest import Service
from vla_ros.tools.serve import Server

ACTION = np.array(GOLDENS['rest_protocol']['stub_action'])
SPEC = PolicySpec('x', 'bridge_orig', (1, 7), 1, 0, 'cpu', 'float32', 'sdpa', 'asked for', 'none')
IMAGE = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


class Stub:
    """Gives the stub action of the goldens and keeps what it was asked."""

    spec = SPEC

    def __init__(self, rows=1):
        self.actions = np.tile(ACTION, (rows, 1))
        self.seen = []
        self.busy = threading.Event()
        self.go = threading.Event()
        self.go.set()

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
def serving(policy, oft=False, strict=False, key=None, max_bytes=2**20):
    service = Service(policy, lambda chunk, name: chunk.actions, oft, strict)
    server = Server(('127.0.0.1', 0), service, key, max_bytes)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def post(port, body, path='/act', **headers):
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('POST', path, body, {'Content-Type': 'application/json', **headers})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.getheader('Content-Type'), content.decode()


def remote(port, **settings):
    return load_policy(PolicyConfig('', url=f'http://127.0.0.1:{port}', **settings))
