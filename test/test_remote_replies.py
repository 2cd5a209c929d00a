# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Invalid replies of a policy server are refused with the name of the field."""

from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
import json
import math
import threading
import time

import numpy as np
import pytest
from rest_harness import IMAGE
from rest_harness import SPEC

from vla_ros.data.json_numpy import dumps
from vla_ros.errors import InvalidAction
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.check import check_chunk
from vla_ros.policy.check import ChunkError
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.policy.remote import RemoteError

ACTIONS = np.zeros((1, 7))
CHUNK = {'actions': ACTIONS, 'normalized': ACTIONS, 'token_ids': [31999], 'bins': [0],
         'margins': np.array([0.5], np.float32), 'prompt': 'In: ...', 'input_ids': [1],
         'timings_ms': {'decode': 2.0}, 'period_s': 0.2, 'drafted': 0, 'accepted': 0}
OBSERVATION = Observation((IMAGE,), 'stop')
#: In place of a value: the field is left out.
OMITTED = object()


@contextmanager
def serve_replies(handle, spec=None):
    """Serve a spec, and handle each request by a function of its handler and number."""
    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self):  # noqa: N802
            self.reply(200, json.dumps(spec if spec is not None else asdict(SPEC)).encode())

        def do_POST(self):  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
            handle(self, body['request'])

        def reply(self, status, body):
            self.send_response(status)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def replies_with(**changes):
    """Return a handler that replies with a chunk with these changes."""
    chunk = {name: value for name, value in {**CHUNK, **changes}.items() if value is not OMITTED}
    return lambda handler, number: handler.reply(
        200, dumps({'request': number, 'chunk': chunk}).encode())


def connect(url, deadline_s=30.0):
    return load_policy(PolicyConfig(policy='remote', url=url, deadline_s=deadline_s))


def rows(*shape):
    return {'actions': np.zeros(shape), 'normalized': np.zeros(shape)}


INVALID_REPLIES = [
    *[(rows(*shape), rf'actions: got shape \({shape[0]}, {shape[1]}\), the spec promised')
      for shape in ((1, 8), (1, 1000), (0, 7), (2, 7), (7, 1), (2000, 7))],
    (rows(100_000, 7), 'a reply of more than 1048576 bytes'),
    (rows(7), 'actions: got shape'), (rows(1, 1, 7), 'actions: got shape'),
    ({'actions': [['0.1'] * 7]}, 'actions: got .* it must be an array of floating-point numbers'),
    ({'actions': np.zeros((1, 7), bool)}, 'actions: got bool'),
    ({'actions': np.zeros((1, 7), np.int64)}, 'actions: got int64'),
    ({'actions': [[0.0] * 7]}, 'actions: got'), ({'actions': None}, 'actions: got None'),
    ({'actions': OMITTED}, 'actions: got None'), ({'normalized': OMITTED}, 'normalized: got None'),
    ({'actions': np.full((1, 7), math.nan)}, 'actions: a number is not finite'),
    ({'actions': np.full((1, 7), math.inf)}, 'actions: a number is not finite'),
    ({'normalized': np.full((1, 7), -math.inf)}, 'normalized: a number is not finite'),
    *[({'period_s': period}, 'period_s: got') for period in (0, 0.0, -0.2, '0.2', True, [0.2],
                                                             math.nan, math.inf)],
    *[({'token_ids': value}, 'token_ids: got') for value in ('31999', [True], ['1'], [1.5], [-2],
                                                             None, {}, [[1]])],
    ({'token_ids': list(range(100_000))}, 'token_ids: got'),
    ({'margins': np.zeros((1, 2), np.float32)}, 'margins: got shape'),
    ({'margins': np.zeros(0, np.float32)}, 'margins: got shape'),
    ({'margins': [0.5]}, 'margins: got'), ({'prompt': 3}, 'prompt: got 3'),
    ({'timings_ms': {'decode': '2'}}, 'timings_ms'), ({'timings_ms': {'decode': True}}, 'timings'),
    ({'timings_ms': []}, 'timings_ms'), ({'timings_ms': {'decode': math.nan}}, 'timings_ms'),
    ({'drafted': -1}, 'drafted: got -1'), ({'accepted': '0'}, 'accepted: got'),
]


@pytest.mark.parametrize(('changes', 'problem'), INVALID_REPLIES, ids=range(len(INVALID_REPLIES)))
def test_a_reply_with_an_invalid_field_is_refused(changes, problem):
    with serve_replies(replies_with(**changes)) as url:
        policy = connect(url)
        with pytest.raises(RemoteError, match=problem) as raised:
            policy.infer(OBSERVATION)
    assert len(str(raised.value)) < 300 and '\n' not in str(raised.value)


def test_a_valid_reply_is_accepted():
    with serve_replies(replies_with(period_s=None)) as url:
        chunk = connect(url).infer(OBSERVATION)
    assert chunk.actions.shape == (1, 7) and chunk.period_s is None


@pytest.mark.parametrize('reply', [
    b'', b'[]', b'null', b'{"request": 1}', b'{"request": 1, "chunk": []}', b'{"request": 2}',
    b'{"request": true, "chunk": {}}', b'{' * 100_000, b'\xff\xfe', b'x' * (2**20 + 1),
    b'{"request": 1, "chunk": {"actions": {"__numpy__": "AAAA", "dtype": "O", "shape": [1]}}}'])
def test_an_invalid_body_is_refused(reply):
    with serve_replies(lambda handler, number: handler.reply(200, reply)) as url:
        policy = connect(url)
        for _ in range(2):  # and the next request is a new one
            with pytest.raises(RemoteError) as raised:
                policy.infer(OBSERVATION)
            assert len(str(raised.value)) < 300


@pytest.mark.parametrize('invalid', [None, [], {}, {'reason': 'x', 'token_ids': 'abc'},
                                     {'reason': 'x', 'token_ids': [1], 'positions': [True]}])
def test_an_invalid_refusal_is_an_error_and_a_valid_one_an_invalid_action(invalid):
    body = json.dumps({'invalid': invalid}).encode()
    with serve_replies(lambda handler, number: handler.reply(422, body)) as url:
        with pytest.raises(RemoteError, match='invalid reply'):
            connect(url).infer(OBSERVATION)
    body = json.dumps({'invalid': {'reason': 'a word', 'token_ids': [1], 'positions': [0],
                                   'prompt': 'In:', 'input_ids': [2]}}).encode()
    with serve_replies(lambda handler, number: handler.reply(422, body)) as url:
        with pytest.raises(InvalidAction, match='a word'):
            connect(url).infer(OBSERVATION)


@pytest.mark.parametrize('change', [
    {'action_shape': [0, 7]}, {'action_shape': [1, 0]}, {'action_shape': ['1', '7']},
    {'action_shape': [True, 7]}, {'action_shape': [1.0, 7.0]}, {'action_shape': [1]},
    {'action_shape': [100_000, 7]}, {'action_shape': None}, {'image_count': 0},
    {'image_count': '1'}, {'proprio_dim': -1}, {'proprio_dim': True}, {'unnorm_key': 3},
    {'checkpoint': None}])
def test_an_invalid_spec_is_refused(change):
    (name, _), = change.items()
    with serve_replies(replies_with(), {**asdict(SPEC), **change}) as url:
        with pytest.raises(RemoteError, match=f'no vla_serve is there .*{name}'):
            connect(url)


def test_unknown_fields_of_a_newer_server_are_ignored():
    with serve_replies(replies_with(), {**asdict(SPEC), 'a_new_field': [1]}) as url:
        assert connect(url).spec == SPEC


@pytest.mark.parametrize('first_bytes', [
    b'HTTP/1.1 200 OK\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{'])
def test_one_deadline_includes_a_second_attempt(first_bytes):
    ended = threading.Event()
    requests = []

    def send_slowly(handler, number):
        requests.append(number)
        handler.close_connection = True
        if len(requests) == 2:  # the kept connection ends, and the client tries again
            ended.wait(1.5)
            handler.connection.close()
            return
        handler.wfile.write(first_bytes)
        while not ended.wait(0.05):
            try:
                handler.wfile.write(b'X: y\r\n')
            except OSError:
                return

    def first(handler, number):
        if not requests:
            requests.append(number)
            return replies_with()(handler, number)
        return send_slowly(handler, number)

    with serve_replies(first) as url:
        policy = connect(url)
        policy.infer(OBSERVATION)
        policy._deadline = 2.0
        began = time.monotonic()
        with pytest.raises(RemoteError, match='no reply within 2 s'):
            policy.infer(OBSERVATION)
        # With a deadline for each try it would be 3.5 s.
        assert time.monotonic() - began < 3.4
        ended.set()
        assert len(requests) == 3


@pytest.mark.parametrize('deadline', [0.3, 30.0])
def test_a_server_that_stalls_within_the_body_misses_the_deadline(deadline):
    ended = threading.Event()

    def stall(handler, number):
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{')
        ended.wait(30)
        handler.close_connection = True

    with serve_replies(stall) as url:
        policy = connect(url, deadline_s=0.3)
        policy._deadline = deadline  # the socket keeps its own 0.3 s
        began = time.monotonic()
        with pytest.raises(RemoteError, match=f'no reply within {deadline:g} s'):
            policy.infer(OBSERVATION)
        ended.set()
        assert time.monotonic() - began < 5.0


def chunk_of(**changes):
    return replace(ActionChunk(ACTIONS, ACTIONS, (1,), (0,), np.ones(1, np.float32), '', (1,), {},
                               0.2), **changes)


@pytest.mark.parametrize('changes', [
    rows(1, 8), rows(0, 7), rows(7), {'actions': np.zeros((1, 7), int)},
    {'actions': [[0.0] * 7]}, {'normalized': np.zeros((2, 7))},
    *({'period_s': period} for period in (0, -1.0, math.nan, math.inf, '0.2', True))])
def test_a_chunk_that_differs_from_its_spec_is_refused(changes):
    check_chunk(chunk_of(), SPEC)
    check_chunk(chunk_of(period_s=None), SPEC)
    with pytest.raises(ChunkError, match='policy x: '):
        check_chunk(chunk_of(**changes), SPEC)
