# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The official REST protocol, over real HTTP."""

from http.client import BadStatusLine
import itertools
import json
import socket
import threading
import time

from goldens import GOLDENS
import numpy as np
import pytest
from rest_harness import ACTION
from rest_harness import ask_spec
from rest_harness import IMAGE
from rest_harness import post
from rest_harness import running
from rest_harness import serving
from rest_harness import SPEC
from rest_harness import Stub

from vla_ros.data.json_numpy import dumps
from vla_ros.data.json_numpy import JsonError
from vla_ros.data.json_numpy import loads
from vla_ros.policy.base import PolicySpec
from vla_ros.server import uvicorn_server
from vla_ros.server.app import create_app

EXCHANGES = GOLDENS['rest_protocol']['exchanges']


@pytest.mark.parametrize('case', EXCHANGES, ids=lambda case: case['name'])
def test_an_official_request_gets_the_official_reply(case):
    stub = Stub()
    with serving(stub) as port:
        assert post(port, case['request_body']) == (
            case['status'], case['content_type'], case['response_body'])
    if case['server_calls']:
        width, height = case['server_calls'][0]['image_size']
        assert stub.seen[0].images[0].shape == (height, width, 3)
    else:
        assert not stub.seen


@pytest.mark.parametrize('row', GOLDENS['rest_protocol']['json_numpy'],
                         ids=lambda row: row['dtype'])
def test_arrays_are_encoded_as_by_json_numpy(row):
    array = np.array(row['array'], row['dtype'])
    assert dumps(array if row['shape'] else array[()]) == row['dumps']
    decoded = loads(row['dumps'])
    assert decoded.dtype == array.dtype and np.array_equal(decoded, array)


def test_the_oft_server_replies_to_an_observation_with_a_list_of_actions():
    stub = Stub(rows=2)
    stub.spec = PolicySpec(**{**SPEC.__dict__, 'image_count': 3, 'proprio_dim': 2})
    body = dumps({'full_image': IMAGE, 'left_wrist_image': IMAGE + 1, 'state': np.array([1., 2.]),
                  'right_wrist_image': IMAGE + 2, 'instruction': 'Fold', 'depth': 3})
    row = dumps(ACTION, compact=True)
    with serving(stub, oft=True) as port:
        assert post(port, body)[2] == f'[{row},{row}]'
        encoded = post(port, json.dumps({'encoded': body}))[2]
    assert json.loads(encoded) == dumps([ACTION, ACTION])
    seen = stub.seen[0]
    assert [int(image[0, 0, 0]) for image in seen.images] == [0, 1, 2]
    assert seen.proprio.tolist() == [1.0, 2.0]


def test_strict_replies_have_a_status_and_name_the_error():
    good = dumps({'image': IMAGE, 'instruction': 'stop'})
    with serving(Stub(), strict=True) as port:
        assert post(port, '{"instruction": "stop"}') == (
            400, 'application/json', '{"error":"image: must be an array of uint8 (height, width, '
            '3)"}')
        assert post(port, good)[0] == 200
        assert post(port, good.replace('stop', 'mumble'))[0] == 422
        status, _, text = post(port, good.replace('stop', 'crash'))
        assert status == 500 and 'secret' not in text


def test_requests_without_key_of_another_path_or_size_are_refused():
    with serving(Stub(), key='sesame', max_bytes=100) as port:
        assert post(port, '{}')[0] == 401
        assert post(port, '{}', Authorization='Bearer wrong')[0] == 401
        assert post(port, '{}', Authorization='Bearer sesame')[2] == '"error"'
        assert post(port, 'x' * 101, Authorization='Bearer sesame')[0] == 413
        assert post(port, '{}', path='/act/../', Authorization='Bearer sesame')[0] == 404
        assert post(port, '[]', Authorization='Bearer sesame')[0] == 422


@pytest.mark.parametrize('array', [
    {'__numpy__': 'gASVBQAAAAAAAABLAS4=', 'dtype': '|O', 'shape': [1]},
    {'__numpy__': 'AAAA', 'dtype': '|u1', 'shape': [4]},
    {'__numpy__': 'AAAA', 'dtype': '|u1', 'shape': [-3]},
    {'__numpy__': 'AAAA', 'dtype': '|u1', 'shape': [2**62, 2**62]},
    {'__numpy__': 'AA!A', 'dtype': '|u1', 'shape': [3]},
    {'__numpy__': 3, 'dtype': '|u1', 'shape': [3]},
    {'__numpy__': 'AAAA', 'dtype': 'M8[s]', 'shape': [3]},
    {'__numpy__': 'AAAA', 'dtype': [['a', '<i4']], 'shape': [3]},
    {'__numpy__': 'AAAA', 'dtype': '(3,)u1', 'shape': [1]},
    {'__numpy__': 'AAAA', 'shape': [3]},
])
def test_invalid_arrays_are_refused(array):
    with pytest.raises(JsonError):
        loads(json.dumps(array))


def test_nested_bodies_do_not_exhaust_the_stack():
    with pytest.raises(JsonError):
        loads('[' * 100_000)


def seconds_until_closed(connection):
    """Wait until the server ends a connection; return the seconds."""
    began = time.monotonic()
    connection.settimeout(30)
    try:
        while connection.recv(1000):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


HEAD = b'POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n'


@pytest.mark.parametrize(('sent', 'trickled'), [
    (b'', b''), (b'POST /a', b''), (HEAD, b''),  # silent at once, in the line, before the body
    (b'', b'POST /act HTTP/1.1'), (b'GET /spec HTTP/1.1\r\n', b'X: y\r\n'), (HEAD, b'{')])
def test_a_slow_or_silent_client_is_disconnected(monkeypatch, sent, trickled):
    monkeypatch.setattr(uvicorn_server, 'READ_TIMEOUT', 0.3)
    monkeypatch.setattr(uvicorn_server, 'REQUEST_TIMEOUT', 0.8)
    ended = threading.Event()

    def trickle(connection):
        for byte in itertools.cycle(trickled):
            if ended.wait(0.05):
                return
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return

    with serving(Stub()) as port, socket.create_connection(('127.0.0.1', port)) as slow:
        slow.sendall(sent)
        thread = threading.Thread(target=trickle, args=(slow,))
        thread.start()
        # Other clients do not wait for it.
        assert post(port, dumps({'image': IMAGE, 'instruction': 'stop'}))[0] == 200
        try:
            assert seconds_until_closed(slow) < 5.0
        finally:
            ended.set()
            thread.join()


def test_connections_of_slow_clients_become_free(monkeypatch):
    monkeypatch.setattr(uvicorn_server, 'READ_TIMEOUT', 0.5)
    body = dumps({'image': IMAGE, 'instruction': 'stop'})
    with serving(Stub()) as port:
        slow = [socket.create_connection(('127.0.0.1', port))
                for _ in range(uvicorn_server.MAX_CONNECTIONS)]
        for connection in slow:
            connection.sendall(HEAD)
        for connection in slow:
            assert seconds_until_closed(connection) < 5.0
            connection.close()
        end = time.monotonic() + 10.0
        while True:  # a connection is free a moment after it has ended
            try:
                assert post(port, body)[0] == 200
                break
            except (ConnectionError, BadStatusLine):
                assert time.monotonic() < end


def test_fragmented_requests_on_one_connection_get_replies(monkeypatch):
    body = dumps({'image': IMAGE, 'instruction': 'stop'}).encode()
    request = HEAD.replace(b'1000', b'%d' % len(body)) + body
    with serving(Stub()) as port, socket.create_connection(('127.0.0.1', port)) as connection:
        connection.settimeout(30)
        for _ in range(2):
            for start in range(0, len(request), 40):
                connection.sendall(request[start:start + 40])
            reply = b''
            while b'"__numpy__"' not in reply or not reply.endswith(b'}'):
                piece = connection.recv(1000)
                assert piece, reply
                reply += piece
            assert reply.startswith(b'HTTP/1.1 200')


def test_a_chunked_body_is_read_up_to_the_size_limit():
    body = dumps({'image': IMAGE, 'instruction': 'stop'}).encode()
    chunk = b'%x\r\n%s\r\n' % (len(body), body)
    head = HEAD.replace(b'Content-Length: 1000', b'Transfer-Encoding: chunked')
    for pieces, status in ((chunk + b'0\r\n\r\n', b'200'), ([chunk] * 20, b'413')):
        with serving(Stub(), max_bytes=10 * len(body)) as port, \
                socket.create_connection(('127.0.0.1', port)) as connection:
            connection.settimeout(30)
            connection.sendall(head + b''.join(pieces) if status == b'413' else head + pieces)
            assert connection.recv(1000).startswith(b'HTTP/1.1 ' + status)


def test_a_header_above_the_size_limit_is_refused():
    with serving(Stub()) as port, socket.create_connection(('127.0.0.1', port)) as connection:
        connection.settimeout(30)
        connection.sendall(b'GET /spec HTTP/1.1\r\nHost: x\r\nX: ' + b'y' * 2**17)
        assert connection.recv(1000).startswith(b'HTTP/1.1 4')


def test_a_connection_above_the_limit_is_refused_and_others_are_kept(monkeypatch):
    monkeypatch.setattr(uvicorn_server, 'MAX_CONNECTIONS', 1)
    with serving(Stub()) as port, socket.create_connection(('127.0.0.1', port)) as first:
        ask_spec(first)
        with socket.create_connection(('127.0.0.1', port)) as second:
            seconds_until_closed(second)
        ask_spec(first)


def test_another_application_can_mount_the_server():
    from starlette.applications import Starlette
    from starlette.routing import Mount
    stub = Stub()
    outer = Starlette(routes=[Mount('/policy', create_app(stub, api_key='sesame'))])
    with running(outer) as port:
        body = dumps({'image': IMAGE, 'instruction': 'stop'})
        assert post(port, body, '/policy/act')[0] == 401
        assert post(port, body, '/policy/act', Authorization='Bearer sesame')[0] == 200
    assert len(stub.seen) == 1
