# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The official REST protocol, over real HTTP, and a policy on the other side of it."""

import base64
from contextlib import contextmanager
from http.client import BadStatusLine
from http.client import HTTPConnection
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time

from goldens import CASES
from goldens import GOLDENS
from goldens import rgb
from goldens import SPEC as CHECKPOINT
import numpy as np
import pytest

from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.json_numpy import dumps
from vla_ros.json_numpy import JsonError
from vla_ros.json_numpy import loads
from vla_ros.policy import ActionChunk
from vla_ros.policy import load_policy
from vla_ros.policy import Observation
from vla_ros.policy import PolicyConfig
from vla_ros.policy import PolicySpec
from vla_ros.remote import RemoteError
from vla_ros.rest import Service
from vla_ros.tools import serve
from vla_ros.tools.serve import Server

EXCHANGES = GOLDENS['rest_protocol']['exchanges']
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


@pytest.mark.parametrize('case', EXCHANGES, ids=lambda case: case['name'])
def test_every_official_request_gets_the_official_reply(case):
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
def test_arrays_are_written_as_json_numpy_writes_them(row):
    array = np.array(row['array'], row['dtype'])
    assert dumps(array if row['shape'] else array[()]) == row['dumps']
    back = loads(row['dumps'])
    assert back.dtype == array.dtype and np.array_equal(back, array)


def test_the_oft_server_takes_an_observation_and_gives_a_list():
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


def test_strict_answers_say_what_was_wrong():
    good = dumps({'image': IMAGE, 'instruction': 'stop'})
    with serving(Stub(), strict=True) as port:
        assert post(port, '{"instruction": "stop"}') == (
            400, 'application/json', '{"error":"image: must be an array of uint8 (height, width, '
            '3)"}')
        assert post(port, good)[0] == 200
        assert post(port, good.replace('stop', 'mumble'))[0] == 422
        status, _, text = post(port, good.replace('stop', 'crash'))
        assert status == 500 and 'secret' not in text


def test_a_key_a_path_and_a_size_are_demanded():
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
def test_what_is_no_array_of_numbers_is_not_read(array):
    with pytest.raises(JsonError):
        loads(json.dumps(array))


def test_nested_bodies_do_not_exhaust_the_stack():
    with pytest.raises(JsonError):
        loads('[' * 100_000)


def ended_after(connection):
    """Wait until the server ends a connection; give the seconds."""
    began = time.monotonic()
    connection.settimeout(30)
    try:
        while connection.recv(1000):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


HEAD = b'POST /act HTTP/1.1\r\nContent-Length: 1000\r\n\r\n'


@pytest.mark.parametrize(('sent', 'trickled'), [
    (b'', b''), (b'POST /a', b''), (HEAD, b''),  # silent before, in the line, before the body
    (b'', b'POST /act HTTP/1.1'), (b'GET /spec HTTP/1.1\r\n', b'X: y\r\n'), (HEAD, b'{')])
def test_a_client_that_is_slow_or_silent_loses_its_connection(monkeypatch, sent, trickled):
    monkeypatch.setattr(serve, '_READ_TIMEOUT', 0.3)
    monkeypatch.setattr(serve, '_REQUEST_TIMEOUT', 0.8)
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
        # Nobody else waits for it.
        assert post(port, dumps({'image': IMAGE, 'instruction': 'stop'}))[0] == 200
        try:
            assert ended_after(slow) < 5.0
        finally:
            ended.set()
            thread.join()


def test_slow_clients_give_their_places_back(monkeypatch):
    monkeypatch.setattr(serve, '_READ_TIMEOUT', 0.5)
    body = dumps({'image': IMAGE, 'instruction': 'stop'})
    with serving(Stub()) as port:
        slow = [socket.create_connection(('127.0.0.1', port)) for _ in range(16)]
        for connection in slow:
            connection.sendall(HEAD)
        for connection in slow:
            assert ended_after(connection) < 5.0
            connection.close()
        end = time.monotonic() + 10.0
        while True:  # a place is free a moment after its connection has ended
            try:
                assert post(port, body)[0] == 200
                break
            except (ConnectionError, BadStatusLine):
                assert time.monotonic() < end


def test_a_request_in_many_pieces_and_a_second_one_are_answered(monkeypatch):
    body = dumps({'image': IMAGE, 'instruction': 'stop'}).encode()
    request = b'POST /act HTTP/1.1\r\nContent-Length: %d\r\n\r\n' % len(body) + body
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


# --- the remote policy -----------------------------------------------------------------------

def remote(port, **settings):
    return load_policy(PolicyConfig('', url=f'http://127.0.0.1:{port}', **settings))


def test_a_remote_policy_says_everything_that_a_local_one_says():
    stub = Stub()
    with serving(stub) as port:
        policy = remote(port, deadline_s=30)
        assert policy.spec == SPEC
        chunk = policy.infer(Observation((IMAGE,), 'Stop', np.array([0.5])))
        assert np.array_equal(chunk.actions, stub.actions)
        assert (chunk.token_ids, chunk.bins, chunk.prompt) == ((31999,), (0,), 'In: ...')
        assert chunk.margins.dtype == np.float32 and chunk.period_s == 0.2
        assert list(chunk.timings_ms) == ['decode', 'network']
        assert (chunk.drafted, chunk.accepted) == (6, 5)
        assert np.array_equal(stub.seen[0].images[0], IMAGE)
        assert stub.seen[0].proprio.tolist() == [0.5]
        with pytest.raises(InvalidAction) as raised:
            policy.infer(Observation((IMAGE,), 'mumble'))
        assert (raised.value.token_ids, raised.value.positions) == ((1, 2), (0,))
        with pytest.raises(ObservationError, match='uint8'):
            policy.infer(Observation((IMAGE.astype(float),), 'Stop'))
        with pytest.raises(RemoteError, match='internal error'):
            policy.infer(Observation((IMAGE,), 'crash'))


def test_an_answer_after_the_deadline_is_dropped():
    stub = Stub()
    with serving(stub) as port:
        policy = remote(port, deadline_s=0.3)
        stub.go.clear()
        with pytest.raises(RemoteError, match='no answer within 0.3 s'):
            policy.infer(Observation((IMAGE,), 'late'))
        stub.go.set()
        policy._deadline = 30
        chunk = policy.infer(Observation((IMAGE,), 'next'))
        assert np.array_equal(chunk.actions, stub.actions)
        assert [seen.instruction for seen in stub.seen] == ['late', 'next']


def test_a_request_that_waited_too_long_is_not_answered_any_more():
    stub = Stub()
    with serving(stub) as port:
        stub.go.clear()
        body = dumps({'images': [IMAGE], 'instruction': 'first'})
        first = threading.Thread(target=post, args=(port, body, '/infer'))
        first.start()
        assert stub.busy.wait(30)
        answers = []
        late = dumps({'images': [IMAGE], 'instruction': 'second', 'deadline_s': 0.0})
        second = threading.Thread(target=lambda: answers.append(post(port, late, '/infer')))
        second.start()
        stub.go.set()
        first.join()
        second.join()
    assert answers[0][0] == 503
    assert [seen.instruction for seen in stub.seen] == ['first']


def test_a_closed_connection_is_opened_again():
    stub = Stub()
    with serving(stub) as port:
        policy = remote(port, deadline_s=30)
        policy._connection.sock.shutdown(socket.SHUT_RDWR)
        assert policy.infer(Observation((IMAGE,), 'Stop')).token_ids == (31999,)


def test_a_server_that_trickles_does_not_hold_the_deadline():
    listener = socket.create_server(('127.0.0.1', 0))
    done = threading.Event()

    def trickle():
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b'HTTP/1.1 200 OK\r\n')
            while not done.wait(0.05):
                try:
                    connection.sendall(b'X: y\r\n')
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with pytest.raises(RemoteError, match='within 0.5 s'):
            remote(listener.getsockname()[1], deadline_s=0.5)
    finally:
        done.set()
        thread.join()
        listener.close()


def test_no_server_and_no_address_are_named():
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match=f'127.0.0.1:{port}'):
        remote(port)
    for url in ('gpu:8000', 'ftp://gpu', 'http://gpu:x', 'http://gpu/act'):
        with pytest.raises(ParameterError, match='http://gpu-machine:8000'):
            load_policy(PolicyConfig('', url=url))


# --- the program -----------------------------------------------------------------------------

@pytest.fixture(scope='module')
def running(golden_checkpoints):
    """Start vla_serve on a golden checkpoint that holds several datasets; yield its port."""
    pytest.importorskip('torch')
    process = subprocess.Popen(
        [sys.executable, '-m', 'vla_ros.tools.serve', '--checkpoint',
         str(golden_checkpoints['float32']), '--device', 'cpu', '--port', '0'],
        stdout=subprocess.PIPE, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    try:
        line = process.stdout.readline()
        assert 'listening on http://127.0.0.1:' in line
        yield int(line.rsplit(':', 1)[1].split('/')[0])
        assert process.poll() is None, 'the server ended'
    finally:
        process.terminate()
        process.wait(30)


def request_of(case, **changes):
    return dumps({'image': rgb(case['image']), 'instruction': case['instruction'],
                  'unnorm_key': case['unnorm_key'], **changes})


@pytest.mark.parametrize('case', CASES[:3], ids=lambda case: case['name'])
def test_a_running_server_gives_the_official_actions(running, case):
    status, _, text = post(running, request_of(case))
    assert status == 200
    np.testing.assert_allclose(loads(text), case['action'], rtol=0, atol=1e-12)
    assert loads(text).dtype == np.float64


def test_several_datasets_need_a_key_in_each_request(running):
    assert post(running, request_of(CASES[0], unnorm_key=None))[2] == '"error"'
    assert post(running, request_of(CASES[0], unnorm_key='nothing'))[2] == '"error"'


def test_without_a_key_nothing_says_that_the_first_dataset_is_the_one(running):
    with pytest.raises(RemoteError, match='was started without --unnorm-key') as raised:
        remote(running, unnorm_key=CASES[0]['unnorm_key'])
    body = dumps({'images': [IMAGE], 'instruction': 'stop'})
    status, _, text = post(running, body, '/infer')
    assert status == 409
    for said in (text, str(raised.value)):
        names = said.split('choose from: ')[1].rstrip('"}').split(', ')
        assert set(names) == set(CHECKPOINT['norm_stats']) and len(names) > 1


def test_an_oft_server_does_not_start_without_a_key(oft_checkpoint, capsys):
    pytest.importorskip('torch')
    assert serve.main(['--checkpoint', str(oft_checkpoint), '--device', 'cpu', '--images', '2',
                       '--port', '0']) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert 'unnorm_key: not given' in said and 'choose from: ' in said


def test_a_thousand_malformed_requests_leave_it_serving(running):
    random.seed(5)
    whole = request_of(CASES[0]).encode()
    for number in range(1000):
        kind = number % 5
        if kind == 0:  # cut anywhere
            body = whole[:random.randrange(len(whole))]
        elif kind == 1:  # noise
            body = random.randbytes(random.randrange(200))
        elif kind == 2:  # JSON of something else
            body = json.dumps(random.choice([None, 3, [], 'x', {'image': 1}, {'encoded': 3},
                                             {'encoded': '{}', 'image': 2}])).encode()
        elif kind == 3:  # an array that is none
            body = json.dumps({'image': {'__numpy__': base64.b64encode(random.randbytes(9)).decode(
            ), 'dtype': random.choice(['|O', '|u1', '<f8', 'x']), 'shape': [random.randrange(9)]},
                'instruction': 'stop'}).encode()
        else:  # not even HTTP, or less than announced
            with socket.create_connection(('127.0.0.1', running)) as raw:
                raw.sendall(random.choice([
                    random.randbytes(50) + b'\r\n\r\n',
                    b'POST /act HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{',
                    b'POST /act HTTP/1.1\r\nContent-Length: -5\r\n\r\n{}',
                    b'POST /act HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n']))
            continue
        status, _, text = post(running, body)
        assert (status, text) == (200, '"error"') or status == 422, body[:80]
    np.testing.assert_allclose(loads(post(running, request_of(CASES[0]))[2]), CASES[0]['action'],
                               rtol=0, atol=1e-12)
