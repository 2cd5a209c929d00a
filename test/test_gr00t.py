# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A remote policy with GR00T's protocol: actions, deadlines, and invalid replies."""

import math
import pickle
import socket
import threading

from gr00t_harness import chunk
from gr00t_harness import gr00t_policy
from gr00t_harness import gr00t_server
from gr00t_harness import MODALITIES
from gr00t_harness import msgpack
from gr00t_harness import pack
from gr00t_harness import RELEASES
import numpy as np
import pytest
from stalled_reply import assert_late_reply_is_dropped

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import Observation
from vla_ros.policy.check import check_chunk
from vla_ros.policy.keys_file import KeysError
from vla_ros.policy.keys_file import load_client_keys
from vla_ros.policy.remote import RemoteError

IMAGE = np.arange(24 * 32 * 3, dtype=np.uint32).reshape(24, 32, 3).astype(np.uint8)
OBSERVATION = Observation((IMAGE, IMAGE[::-1]), 'pick the cube', np.arange(6.0))
PROMPT = 'annotation.human.task_description'


def replies_with(reply):
    return lambda send, seen: send(reply)


@pytest.mark.parametrize('release', RELEASES)
def test_an_observation_is_sent_and_actions_are_returned(release, monkeypatch):
    monkeypatch.setenv('VLA_API_KEY', 'secret')
    reply = replies_with(pack(chunk(release), release))
    with gr00t_server(reply, release=release) as (url, server):
        policy = gr00t_policy(url)
        assert policy.spec.action_shape == (16, 6) and policy.spec.image_count == 2
        assert policy.spec.proprio_dim == 6 and policy.spec.unnorm_key == 'so100'
        for _ in range(2):
            reply = policy.infer(OBSERVATION)
            check_chunk(reply, policy.spec)
            assert np.allclose(reply.actions, [0.5] * 5 + [0.25])
        assert server.tokens == ['secret'] * 3
    seen = server.seen[-1]
    if release == 'n1.5':
        assert seen[PROMPT] == ['pick the cube']
        assert np.array_equal(seen['video.wrist'], IMAGE[None, ::-1])
        assert seen['state.single_arm'].tolist() == [[0, 1, 2, 3, 4]]
    else:
        observation = seen['observation']
        assert observation['language'] == {PROMPT: [['pick the cube']]}
        assert np.array_equal(observation['video']['front'], IMAGE[None, None])
        assert observation['state']['gripper'].tolist() == [[[5.0]]]
        assert observation['state']['gripper'].dtype == np.float32


def with_arm_action(arm):
    return pack([{**chunk()[0], 'single_arm': arm}, {}])


class CodeOnUnpickling:

    def __reduce__(self):
        return print, ('unpickled',)


INVALID_REPLIES = [
    (with_arm_action(np.zeros((1, 16, 6), np.float32)), r'got shape \(16, 6\)'),
    (with_arm_action(np.zeros((2, 16, 5), np.float32)), r'got shape \(2, 16, 5\)'),
    (with_arm_action(np.zeros((1, 100_000, 5), np.float32)), 'a reply of 2000.* bytes'),
    (with_arm_action(np.zeros((1, 10_000, 5), np.float32)), r'got shape \(10000, 5\)'),
    (with_arm_action(np.full((1, 16, 5), math.nan, np.float32)), 'not finite'),
    (with_arm_action(np.full((1, 16, 5), math.inf)), 'not finite'),
    (with_arm_action(np.zeros((1, 16, 5), bool)), 'got bool'),
    (with_arm_action(np.zeros((1, 16, 5), int)), 'got int64'),
    (with_arm_action(np.full((1, 16, 5), '0.5')), 'only of numbers'),
    (with_arm_action(None), 'got None'), (with_arm_action([[0.0] * 5] * 16), 'must be an array'),
    (pack([{}, {}]), 'single_arm: it is missing'), (pack({}), 'a list of actions'),
    (pack([[], {}]), 'must be a map'), (pack('x'), "got 'x'"), (b'ERROR', 'not msgpack'),
    (b'', 'not msgpack'), (b'\x91' * 10_000, 'not msgpack'),
    (pack({'error': 'Traceback:\n  File\nKeyError: front\n'}), 'the server reports: KeyError'),
    (msgpack.packb([{'single_arm': {'__ndarray_class__': True, 'as_npy': b'x'}}, {}]), 'no .npy'),
    (msgpack.packb([{'single_arm': {b'nd': True, b'kind': b'O', b'type': '|O', b'shape': [1],
                                    b'data': pickle.dumps(CodeOnUnpickling())}}, {}]),
     'only of numbers'),
    (msgpack.packb([{'single_arm': {'__ndarray_class__': True, 'as_npy': (
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,)}"
        .ljust(127) + b'\n')}}, {}]), '0 bytes are no array'),
]


@pytest.mark.parametrize(('invalid', 'problem'), INVALID_REPLIES, ids=range(len(INVALID_REPLIES)))
def test_an_invalid_reply_is_refused_and_the_next_request_is_sent(invalid, problem, capfd):
    replies = [invalid, pack(chunk())]
    with gr00t_server(lambda send, seen: send(replies.pop(0))) as (url, _):
        policy = gr00t_policy(url)
        with pytest.raises(RemoteError, match=problem) as raised:
            policy.infer(OBSERVATION)
        assert '\n' not in str(raised.value) and url in str(raised.value)
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], 0.5)
    assert 'unpickled' not in capfd.readouterr().out


def test_a_stalled_server_misses_the_deadline_and_its_late_reply_is_dropped():
    go = threading.Event()

    def stall(send, seen):
        if seen['observation']['language'][PROMPT] == [['stall']]:
            go.wait(30)
            send(pack(chunk(arm=2.0)))
        else:
            send(pack(chunk()))

    with gr00t_server(stall) as (url, _):
        assert_late_reply_is_dropped(
            gr00t_policy(url), Observation((IMAGE, IMAGE), 'stall', np.arange(6.0)), OBSERVATION,
            go, 0.5)


@pytest.mark.parametrize('number', [None, b'x', (0).to_bytes(8, 'big')])
def test_an_unrequested_message_is_an_error(number):
    def send_twice(send, seen):
        send(pack(chunk()))
        if not sent:
            sent.append(True)
            send(pack(chunk(arm=9.0)), number)

    sent = []
    with gr00t_server(send_twice) as (url, _):
        policy = gr00t_policy(url)
        policy.infer(OBSERVATION)
        assert policy._socket.poll(30_000)
        with pytest.raises(RemoteError, match='unexpected message'):
            policy.infer(OBSERVATION)
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], 0.5)


def test_a_reply_to_another_request_is_an_error():
    numbers = [b'12345678', None]
    with gr00t_server(lambda send, seen: send(pack(chunk()), numbers.pop(0))) as (url, _):
        policy = gr00t_policy(url)
        with pytest.raises(RemoteError, match='no reply to the request'):
            policy.infer(OBSERVATION)
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], 0.5)


def changed(**changes):
    return {name: {**entry, **changes.get(name, {})} for name, entry in MODALITIES.items()}


@pytest.mark.parametrize(('modalities', 'problem'), [
    (changed(video={'modality_keys': ['front']}), 'wants front, the file of keys has front, wr'),
    (changed(state={'modality_keys': ['eef', 'gripper', 'single_arm']}), 'wants eef, gripper'),
    (changed(language={'modality_keys': ['task']}), 'language: the server wants task'),
    (changed(action={'modality_keys': ['gripper']}), 'action: the server gives gripper'),
    (changed(action={'delta_indices': list(range(8))}), 'gives 8 steps, the file of keys has 16'),
    (changed(video={'delta_indices': [-15, 0]}), r'wants the steps \[-15, 0\]'),
    (changed(video={'delta_indices': [True]}), r'got \[True\]')])
def test_a_server_with_another_spec_is_refused_at_start(modalities, problem):
    for release in RELEASES[:2]:
        with gr00t_server(None, modalities, release) as (url, _):
            with pytest.raises(RemoteError, match=problem):
                gr00t_policy(url)


def test_a_server_that_does_not_speak_gr00ts_protocol_is_an_error_that_names_it():
    with gr00t_server(None, changed(video={'modality_keys': 'front'})) as (url, _):
        with pytest.raises(RemoteError, match="modality_keys: got 'front'"):
            gr00t_policy(url)
    with gr00t_server(None, {}) as (url, server):
        with pytest.raises(RemoteError, match='video: got None.*N1.5, N1.6 or N1.7'):
            gr00t_policy(url)
        server.modalities = {'error': 'Unknown endpoint: get_modality_config'}
        with pytest.raises(RemoteError, match='reports: Unknown endpoint'):
            gr00t_policy(url)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        with pytest.raises(RemoteError, match='within 0.3 s'):
            gr00t_policy(f'tcp://127.0.0.1:{silent.getsockname()[1]}', deadline_s=0.3)
    for url in ('gpu:5555', 'http://gpu:5555', 'tcp://gpu', 'tcp://gpu:x', 'tcp://*:5555/x'):
        with pytest.raises(ParameterError, match='tcp://gpu-machine:5555'):
            gr00t_policy(url)


def test_a_file_of_keys_for_another_protocol_is_refused(tmp_path):
    with pytest.raises(KeysError, match='config/gr00t/pi05_droid.yaml: .*missing'):
        gr00t_policy('tcp://gpu:5555', 'pi05_droid')
    path = tmp_path / 'keys.yaml'
    path.write_text('images: [[video, front]]\nprompt: p\ndataset: d\n'
                    'actions: {key: x, steps: 2, dimensions: 3}\n')
    with pytest.raises(KeysError, match="'video', 'front'.*without video"):
        gr00t_policy('tcp://gpu:5555', str(path))
    path.write_text(path.read_text().replace('[[video, front]]', '[front]\nimage_layout: chw'))
    with pytest.raises(KeysError, match='hwc alone'):
        gr00t_policy('tcp://gpu:5555', str(path))


def test_the_key_files_of_the_package_describe_clients():
    keys = load_client_keys('widowx_bridge', 'gr00t')
    assert keys.action_shape == (8, 7) and keys.state_length == 8
    reply = {key[0]: np.full((8, 1), 0.6, np.float32) for key in keys.actions}
    assert np.allclose(keys.read_actions(reply), [[0.6] * 6 + [1.0]] * 8)
    assert load_client_keys('so100', 'gr00t').action_shape == (16, 6)


def test_a_missing_package_is_named(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'vla_ros.policy.gr00t', None)
    monkeypatch.delitem(sys.modules, 'vla_ros.policy.gr00t')
    monkeypatch.setitem(sys.modules, 'zmq', None)
    with pytest.raises(UnsupportedError, match='pyzmq is not installed.*requirements-serve.txt'):
        gr00t_policy('tcp://gpu:5555')
