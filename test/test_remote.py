# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A remote policy: results, deadlines, and lost connections."""

import socket
import threading

import numpy as np
import pytest
from rest_harness import IMAGE
from rest_harness import post
from rest_harness import remote
from rest_harness import serving
from rest_harness import SPEC
from rest_harness import Stub

from vla_ros.data.json_numpy import dumps
from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.policy.remote import RemoteError


def test_a_remote_policy_gives_the_chunks_and_errors_of_a_local_one():
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


def test_a_reply_after_the_deadline_is_dropped():
    stub = Stub()
    with serving(stub) as port:
        policy = remote(port, deadline_s=0.3)
        stub.go.clear()
        with pytest.raises(RemoteError, match='no reply within 0.3 s'):
            policy.infer(Observation((IMAGE,), 'late'))
        stub.go.set()
        policy._deadline = 30
        chunk = policy.infer(Observation((IMAGE,), 'next'))
        assert np.array_equal(chunk.actions, stub.actions)
        assert [seen.instruction for seen in stub.seen] == ['late', 'next']


def test_a_request_past_its_deadline_is_not_sent():
    stub = Stub()
    with serving(stub) as port:
        stub.go.clear()
        body = dumps({'images': [IMAGE], 'instruction': 'first'})
        first = threading.Thread(target=post, args=(port, body, '/infer'))
        first.start()
        assert stub.busy.wait(30)
        replies = []
        late = dumps({'images': [IMAGE], 'instruction': 'second', 'deadline_s': 1e-6})
        second = threading.Thread(target=lambda: replies.append(post(port, late, '/infer')))
        second.start()
        stub.go.set()
        first.join()
        second.join()
    assert replies[0][0] == 503
    assert [seen.instruction for seen in stub.seen] == ['first']


def test_an_overloaded_server_is_an_error_and_the_next_request_is_sent():
    stub = Stub()
    with serving(stub) as port:
        policy = remote(port, deadline_s=2.0)
        stub.go.clear()
        body = dumps({'images': [IMAGE], 'instruction': 'slow'})
        release = threading.Timer(2.5, stub.go.set)
        release.start()
        assert post(port, body, '/infer')[0] == 200  # that is how long an inference takes
        stub.go.clear()
        stub.busy.clear()
        running = threading.Thread(target=post, args=(port, body, '/infer'))
        running.start()
        assert stub.busy.wait(30)
        with pytest.raises(RemoteError, match='status 503, overloaded: 0 requests are ahead'):
            policy.infer(Observation((IMAGE,), 'too late'))
        stub.go.set()
        running.join()
        policy._deadline = 30
        assert policy.infer(Observation((IMAGE,), 'next')).token_ids == (31999,)
    assert [seen.instruction for seen in stub.seen] == ['slow', 'slow', 'next']


def test_a_closed_connection_is_opened_again():
    stub = Stub()
    with serving(stub) as port:
        policy = remote(port, deadline_s=30)
        policy._connection.sock.shutdown(socket.SHUT_RDWR)
        assert policy.infer(Observation((IMAGE,), 'Stop')).token_ids == (31999,)


def test_a_server_that_sends_slowly_does_not_extend_the_deadline():
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


def test_an_unreachable_server_and_an_invalid_address_are_named():
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match=f'127.0.0.1:{port}'):
        remote(port)
    for url in ('gpu:8000', 'ftp://gpu', 'http://gpu:x', 'http://gpu/act'):
        with pytest.raises(ParameterError, match='http://gpu-machine:8000'):
            load_policy(PolicyConfig(policy='remote', url=url))
