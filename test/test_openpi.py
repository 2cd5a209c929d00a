# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A remote policy with openpi's protocol: actions, deadlines, and invalid replies."""

import math
import socket
import threading
import time

import numpy as np
from openpi_harness import openpi_policy
from openpi_harness import openpi_server
from openpi_harness import pack
import pytest
from stalled_reply import assert_late_reply_is_dropped

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import Observation
from vla_ros.policy.check import check_chunk
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.keys_file import KeysError
from vla_ros.policy.remote import RemoteError

IMAGE = np.arange(224 * 224 * 3, dtype=np.uint32).reshape(224, 224, 3).astype(np.uint8)
OBSERVATION = Observation((IMAGE, IMAGE), 'fold the towel', np.arange(8.0))
ACTIONS = np.full((15, 8), 0.5, np.float32)
GOOD = pack({'actions': ACTIONS, 'server_timing': {'infer_ms': 0.0}})


def replies_with(**changes):
    """Return a handler that sends a valid reply with these changes."""
    return lambda connection, seen: connection.send(pack({'actions': ACTIONS, **changes}))


def send_good(connection, seen):
    connection.send(GOOD)


def test_an_observation_is_sent_and_actions_are_returned(monkeypatch):
    monkeypatch.setenv('VLA_API_KEY', 'secret')
    with openpi_server(send_good) as (url, server):
        policy = openpi_policy(url)
        spec = policy.spec
        assert (spec.action_shape, spec.image_count, spec.proprio_dim) == ((15, 8), 2, 8)
        assert spec.unnorm_key == 'openpi_droid'
        for _ in range(3):
            chunk = policy.infer(OBSERVATION)
            check_chunk(chunk, spec)
            assert np.allclose(chunk.actions, [0.1] * 7 + [0.0])
            assert chunk.period_s == pytest.approx(1 / 15)
            assert list(chunk.timings_ms) == ['infer', 'network']
        assert server.connections == 1 and server.keys == ['Api-Key secret']
        seen = server.seen[-1]
        assert np.array_equal(seen['observation/exterior_image_1_left'], IMAGE)
        assert seen['observation/joint_position'].tolist() == list(range(7))
        assert seen['prompt'] == 'fold the towel'


INVALID_REPLIES = [
    ({'actions': np.zeros((15, 7))}, r'got shape \(15, 7\)'),
    ({'actions': np.zeros((16, 8))}, r'got shape \(16, 8\)'),
    ({'actions': np.zeros((100_000, 8))}, 'message too big|frame|1009|exceed'),
    ({'actions': np.zeros((10_000, 8))}, r'got shape \(10000, 8\)'),
    ({'actions': np.full((15, 8), math.nan)}, 'not finite'),
    ({'actions': np.full((15, 8), -math.inf)}, 'not finite'),
    ({'actions': np.zeros((15, 8), bool)}, 'got bool'), ({'actions': None}, 'got None'),
    ({'actions': [[0.0] * 8] * 15}, 'must be an array'), ({'actions': 'x'}, "got 'x'"),
]


@pytest.mark.parametrize(('changes', 'problem'), INVALID_REPLIES, ids=range(len(INVALID_REPLIES)))
def test_invalid_actions_are_refused_and_the_next_request_reconnects(changes, problem):
    replies = [replies_with(**changes), send_good]
    with openpi_server(lambda *given: replies.pop(0)(*given)) as (url, server):
        policy = openpi_policy(url)
        with pytest.raises(RemoteError, match=problem):
            policy.infer(OBSERVATION)
        # The next request uses a new connection.
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], 0.1)
        assert server.connections == 2


@pytest.mark.parametrize(('reply', 'problem'), [
    ('Traceback:\n  File\nValueError: no such key\n', 'the server reports: ValueError: no such'),
    ('', 'the server reports: nothing'), (b'\xc1', 'not msgpack'), (b'', 'not msgpack'),
    (pack([1]), 'it is missing'), (pack({}), 'it is missing'),
    (pack({'actions': {b'__ndarray__': True, b'data': b'x', b'dtype': '|O', b'shape': [1]}}),
     'only of numbers')])
def test_an_invalid_reply_is_an_error_of_one_line(reply, problem):
    with openpi_server(lambda connection, seen: connection.send(reply)) as (url, _):
        policy = openpi_policy(url)
        with pytest.raises(RemoteError, match=problem) as raised:
            policy.infer(OBSERVATION)
        assert '\n' not in str(raised.value) and url in str(raised.value)


@pytest.mark.parametrize('timing', [3, {'infer_ms': 'x'}, {'infer_ms': math.nan},
                                    {'infer_ms': 1e9}, {'infer_ms': True}, {}])
def test_invalid_server_timings_are_left_out(timing):
    with openpi_server(replies_with(server_timing=timing)) as (url, _):
        assert list(openpi_policy(url).infer(OBSERVATION).timings_ms) == ['network']


def test_a_stalled_server_misses_the_deadline_and_its_late_reply_is_dropped():
    go = threading.Event()

    def stall(connection, seen):
        if seen['prompt'] == 'stall':
            go.wait(30)
            connection.send(pack({'actions': ACTIONS * 2}))
        else:
            connection.send(GOOD)

    with openpi_server(stall) as (url, server):
        assert_late_reply_is_dropped(
            openpi_policy(url), Observation((IMAGE, IMAGE), 'stall', np.arange(8.0)), OBSERVATION,
            go, 0.1)
        assert server.connections == 2


def test_an_unrequested_message_is_an_error():
    sent = threading.Event()

    def send_twice(connection, seen):
        connection.send(GOOD)
        if not sent.is_set():
            connection.send(pack({'actions': -ACTIONS}))
            sent.set()

    with openpi_server(send_twice) as (url, server):
        policy = openpi_policy(url)
        policy.infer(OBSERVATION)
        assert sent.wait(30)
        end = time.monotonic() + 30
        while not policy._connection.recv_messages.frames.qsize():
            assert time.monotonic() < end
            time.sleep(0.01)
        with pytest.raises(RemoteError, match='unexpected message'):
            policy.infer(OBSERVATION)
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], 0.1)
        assert server.connections == 2


def test_a_closed_connection_is_opened_again():
    def send_and_close(connection, seen):
        connection.send(GOOD)
        connection.close()

    with openpi_server(send_and_close) as (url, server):
        policy = openpi_policy(url)
        for _ in range(3):
            try:
                policy.infer(OBSERVATION)
            except RemoteError:  # it closed while the next observation was being sent
                policy.infer(OBSERVATION)
        assert server.connections >= 3


def test_a_silent_server_misses_the_deadline():
    with socket.create_server(('127.0.0.1', 0)) as silent:
        with pytest.raises(RemoteError, match='within 0.5 s|timed out'):
            openpi_policy(f'ws://127.0.0.1:{silent.getsockname()[1]}', deadline_s=0.5)


def test_an_unreachable_server_and_an_invalid_address_are_named():
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match=f'ws://127.0.0.1:{port}: .*refused'):
        openpi_policy(f'ws://127.0.0.1:{port}')
    for url in ('gpu:8000', 'http://gpu', 'ws://gpu:x', 'ws://'):
        with pytest.raises(ParameterError, match='ws://gpu-machine:8000'):
            openpi_policy(url)


def test_an_inconsistent_setting_is_named():
    with pytest.raises(KeysError, match='a client needs actions.steps'):
        openpi_policy('ws://gpu', 'libero')
    for settings in ({'policy': 'remote', 'url': 'ws://gpu', 'protocol': 'openpi'},
                     {'policy': 'remote', 'url': 'http://gpu', 'keys_file': 'pi05_droid'}):
        with pytest.raises(ParameterError, match='keys_file'):
            PolicyConfig(**settings)
    with pytest.raises(ParameterError, match='protocol'):
        PolicyConfig(checkpoint='x', protocol='openpi', keys_file='pi05_droid')
    with pytest.raises(ParameterError, match='vla, openpi'):
        PolicyConfig(policy='remote', url='ws://gpu', protocol='zmq')


def test_a_missing_package_is_named(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'vla_ros.policy.openpi', None)
    monkeypatch.delitem(sys.modules, 'vla_ros.policy.openpi')
    monkeypatch.setitem(sys.modules, 'websockets.exceptions', None)
    with pytest.raises(UnsupportedError, match='websockets'):
        openpi_policy('ws://gpu')
