# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_serve --protocol openpi``: actions for valid requests, one line for invalid ones."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
import json
import socket

import anyio
from malformed_frames import attack
import numpy as np
from openpi_harness import Client
from openpi_harness import openpi_policy
from openpi_harness import pack
import pytest
from rest_harness import ACTION
from rest_harness import running
from rest_harness import Stub
from starlette.websockets import WebSocketDisconnect

from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import Observation
from vla_ros.policy.keys_file import load_keys
from vla_ros.policy.remote import RemoteError
from vla_ros.server import openpi as server
from vla_ros.server.openpi import create_openpi_app
from vla_ros.server.uvicorn_server import WebSockets
from websockets.exceptions import ConnectionClosed
from websockets.exceptions import InvalidStatus

IMAGE = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
OBSERVATION = {'observation/image': IMAGE, 'observation/wrist_image': IMAGE[::-1],
               'observation/state': np.arange(8.0), 'prompt': 'fold'}


@contextmanager
def serving(policy, keys='libero', max_bytes=2**20, **settings):
    app = create_openpi_app(policy, load_keys(keys), **settings)
    with running(app, websockets=WebSockets(max_bytes)) as port:
        yield port


def oft_stub():
    policy = Stub(rows=5)
    policy.spec = replace(Stub.spec, action_shape=(5, 7), image_count=2, proprio_dim=8)
    return policy


def get(port, path):
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('GET', path)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def test_a_client_gets_metadata_actions_and_timings():
    policy = oft_stub()
    with serving(policy) as port, Client(port) as client:
        assert client.metadata['checkpoint'] == 'x' and client.metadata['action_shape'] == [5, 7]
        for _ in range(3):
            reply = client.infer(OBSERVATION)
            assert reply['actions'].dtype == np.float32
            assert np.allclose(reply['actions'], np.tile(ACTION, (5, 1)))
            assert reply['server_timing']['infer_ms'] > 0
        seen = policy.seen[-1]
        assert np.array_equal(seen.images[0], IMAGE) and len(seen.images) == 2
        assert np.array_equal(seen.images[1], IMAGE[::-1]) and seen.instruction == 'fold'
        assert seen.proprio.tolist() == list(range(8))
        assert get(port, '/healthz') == (200, b'OK\n')
        assert json.loads(get(port, '/stats')[1])['batches'] == {'1': 3}


def test_an_invalid_request_gets_one_line_and_keeps_its_connection():
    with serving(oft_stub()) as port, Client(port) as client:
        for change, problem in (({'prompt': 3}, 'prompt: got 3'),
                                ({'prompt': 'mumble'}, 'a word'),
                                ({'prompt': 'crash'}, r'internal error \(RuntimeError\)$'),
                                ({'observation/image': None}, 'observation/image: got None'),
                                ({'observation/state': np.zeros(3)}, 'must be 8 finite')):
            with pytest.raises(RuntimeError, match=problem) as raised:
                client.infer({**OBSERVATION, **change})
            assert '\n' not in str(raised.value) and 'secret' not in str(raised.value)
        for message, problem in (('text', 'binary'), (b'\xc1', 'not msgpack'),
                                 (b'', 'not msgpack'), (pack([]), 'it is missing'),
                                 (b'\x91' * 10_000, 'not msgpack')):
            client.connection.send(message)
            assert problem in client.connection.recv(30)
        assert client.infer(OBSERVATION)['actions'].shape == (5, 7)


def test_actions_that_are_not_finite_are_an_error():
    policy = oft_stub()
    policy.actions = np.full((5, 7), np.nan)
    with serving(policy) as port, Client(port) as client:
        with pytest.raises(RuntimeError, match='not finite'):
            client.infer(OBSERVATION)


def test_a_message_above_the_size_limit_closes_only_its_connection():
    with serving(oft_stub(), max_bytes=10_000) as port, Client(port) as client:
        with Client(port) as other:
            other.connection.send(bytes(10_001))
            with pytest.raises(ConnectionClosed) as raised:
                other.connection.recv(30)
            assert raised.value.rcvd.code == 1009
        assert client.infer(OBSERVATION)['actions'].shape == (5, 7)


def test_a_request_without_the_key_is_refused():
    with serving(oft_stub(), api_key='secret') as port:
        for key in (None, 'other', 'secret2'):
            with pytest.raises(InvalidStatus, match='403'):
                Client(port, key)
        assert get(port, '/stats')[0] == 401
        with Client(port, 'secret') as client:
            assert client.infer(OBSERVATION)['actions'].shape == (5, 7)


def test_clients_are_served_concurrently():
    policy = oft_stub()
    with serving(policy) as port, ThreadPoolExecutor(8) as pool:
        policy.go.clear()

        def infer(number):
            with Client(port) as client:
                return client.infer({**OBSERVATION, 'prompt': f'fold {number}'})['actions']

        replies = [pool.submit(infer, number) for number in range(8)]
        assert policy.busy.wait(30)
        assert get(port, '/healthz')[0] == 200  # the server does not wait for the policy
        policy.go.set()
        assert all(reply.result(30).shape == (5, 7) for reply in replies)
    assert len({seen.instruction for seen in policy.seen}) == 8


def test_the_server_survives_a_client_that_disconnects():
    policy = oft_stub()
    with serving(policy) as port:
        policy.go.clear()
        client = Client(port)
        client.connection.send(pack(OBSERVATION))
        assert policy.busy.wait(30)
        client.connection.socket.shutdown(socket.SHUT_RDWR)
        policy.go.set()
        with Client(port) as other:
            assert other.infer(OBSERVATION)['actions'].shape == (5, 7)


def test_the_server_survives_malformed_frames(caplog):
    policy = oft_stub()
    with serving(policy) as port:
        counts = attack(port, 300)
        with Client(port) as client:
            assert client.infer(OBSERVATION)['actions'].shape == (5, 7)
    assert counts['ends']['read to the end'] > 50
    assert 'not msgpack' in caplog.text
    assert 'Exception in ASGI application' not in caplog.text


def test_a_send_on_a_closed_connection_is_a_disconnect():
    class Closed:
        async def send_text(self, reply):
            raise RuntimeError("Unexpected ASGI message 'websocket.send'")

    with pytest.raises(WebSocketDisconnect):
        anyio.run(server._send, Closed(), 'a reply')


def test_a_key_file_that_lacks_an_input_of_the_policy_is_refused():
    policy = Stub()
    policy.spec = replace(Stub.spec, image_count=4)
    with pytest.raises(UnsupportedError, match='wants 4 images'):
        create_openpi_app(policy, load_keys('libero'))
    policy.spec = replace(Stub.spec, proprio_dim=7)
    with pytest.raises(UnsupportedError, match='a state of 7 numbers'):
        create_openpi_app(policy, load_keys('libero'))


def test_the_client_of_this_package_works_with_its_server():
    policy = Stub(rows=15)
    policy.actions = np.full((15, 8), 0.25)
    policy.spec = replace(Stub.spec, action_shape=(15, 8), image_count=2, proprio_dim=8)
    with serving(policy, 'pi05_droid') as port:
        remote = openpi_policy(f'ws://127.0.0.1:{port}')
        chunk = remote.infer(Observation((IMAGE, IMAGE), 'fold', np.arange(8.0)))
        assert np.allclose(chunk.actions, [0.05] * 7 + [0.0])
        assert policy.seen[0].images[0].shape == (224, 224, 3)
        with pytest.raises(RemoteError, match='the server reports: .*a word'):
            remote.infer(Observation((IMAGE, IMAGE), 'mumble', np.arange(8.0)))
