# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A policy behind LeRobot's protocol: its actions, its deadline, and servers that lie."""

import gc
import math
import socket
import threading
import time

from lerobot_harness import ACTION
from lerobot_harness import action
from lerobot_harness import ARTIFACT
from lerobot_harness import error
from lerobot_harness import free_port
from lerobot_harness import FRONT
from lerobot_harness import JOINTS
from lerobot_harness import lerobot_policy
from lerobot_harness import lerobot_server
from lerobot_harness import msgpack
from lerobot_harness import response
from lerobot_harness import STATE
from lerobot_harness import tensor
import numpy as np
import pytest
from stalled_reply import assert_late_reply_is_dropped

from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import Observation
from vla_ros.policy.check import check_chunk
from vla_ros.policy.keys_file import KeysError
from vla_ros.policy.keys_file import load_client_keys
from vla_ros.policy.remote import RemoteError

IMAGE = np.arange(480 * 640 * 3, dtype=np.uint32).reshape(480, 640, 3).astype(np.uint8)
OBSERVATION = Observation((IMAGE,), 'pick the cube', np.full(6, math.pi / 4))
ANGLE = math.pi / 2  # the 90 degrees of the harness


def good(server, request):
    server.act(action(request))


def test_an_observation_goes_out_and_actions_come_back():
    with lerobot_server(good) as (url, server):
        policy = lerobot_policy(url)
        assert policy.spec.action_shape == (50, 6) and policy.spec.image_count == 1
        assert policy.spec.proprio_dim == 6 and policy.spec.unnorm_key == 'so101'
        assert policy.spec.revision == ARTIFACT
        assert server.opened['features'] == [STATE, FRONT]
        assert server.opened['action_feature'] == ACTION
        assert (server.opened['mode'], server.opened['encoding']) == ('chunk', 'raw')
        assert server.opened['expected_artifact'] == ARTIFACT
        for _ in range(2):
            chunk = policy.infer(OBSERVATION)
            check_chunk(chunk, policy.spec)
            assert np.allclose(chunk.actions, [ANGLE] * 5 + [0.9])
            assert chunk.period_s == 1 / 30
            assert chunk.timings_ms['infer'] == 1.0 and chunk.timings_ms['network'] > 0.0
    first, second = (request['body'] for request in server.seen)
    assert np.array_equal(first['features']['observation.images.front'], IMAGE)
    assert np.allclose(first['features']['observation.state'], [45.0] * 5 + [math.pi * 25])
    assert first['features']['observation.state'].dtype == np.float32
    assert (first['task'], first['artifact_identity']) == ('pick the cube', ARTIFACT)
    assert first['sequence'] < second['sequence']
    assert first['observation_id'] != second['observation_id']
    assert server.controls == [('reset', 0)]


def with_actions(**changes):
    return lambda request: action(request, tensor(np.zeros((50, 6), np.float32), **changes))


def array(value):
    return lambda request: action(request, tensor(value))


def envelope(**changes):
    return lambda request: action(request, changes=changes)


LIES = [
    (array(np.zeros((50, 7), np.float32)), r'got shape \(50, 7\)'),
    (array(np.zeros((49, 6), np.float32)), r'got shape \(49, 6\)'),
    (array(np.zeros((1, 50, 6), np.float32)), r'got shape \(1, 50, 6\)'),
    (array(np.zeros((10_000, 6), np.float32)), r'got shape \(10000, 6\)'),
    (array(np.zeros((100_000, 6), np.float32)), 'a reply of 2400.* bytes, more than'),
    (array(np.full((50, 6), math.nan, np.float32)), 'a number is not finite'),
    (array(np.full((50, 6), -math.inf, np.float32)), 'a number is not finite'),
    (array(np.zeros((50, 6))), 'got float64, declared was float32'),
    (array(np.zeros((50, 6), np.int64)), 'got int64'), (array(np.ones((50, 6), bool)), 'got bool'),
    (with_actions(dtype='object'), "tensor of 'object'"),
    (with_actions(shape=[50, 60]), '1200 bytes are no array'),
    (with_actions(endianness='middle'), "'middle' endian"),
    (with_actions(data='x'), 'must have data, bytes'),
    (with_actions(__lerobot_type__='pickle'), "an array of 'pickle' is not read"),
    (lambda request: action(request, 'x'), "action: got 'x'"),
    (lambda request: action(request, [[0.0] * 6] * 50), 'must be an array'),
    (lambda request: response(request, 'action', {}), 'artifact_identity of the reply is None'),
    (lambda request: action(request, execution_steps=49), 'execution_steps: got 49, declared'),
    (lambda request: action(request, execution_steps=None), 'execution_steps: got None'),
    (lambda request: action(request, artifact_identity='x'), 'artifact_identity of the reply is'),
    (lambda request: action(request, task='another'), "task of the reply is 'another'"),
    (lambda request: action(request, observation_id='x'), 'observation_id of the reply is'),
    (lambda request: action(request, capture_time=0.0), 'capture_time of the reply is 0.0'),
    (lambda request: action(request, task_version=7), 'task_version of the reply is 7'),
    (envelope(generation=1), 'generation of the reply is 1, that of the request is 0'),
    (envelope(session_id='another'), "session of the reply is 'another'"),
    (envelope(session_id=''), "session of the reply is ''"),
    (envelope(instance_id='another'), "instance of the reply is 'another'"),
    (envelope(version=2), 'version: got 2'), (envelope(message_type='shout'), "got 'shout'"),
    (envelope(message_type='ack'), "the reply is 'ack', it must be 'action'"),
    (envelope(generation=-1), 'generation: got -1'), (envelope(body=None), 'body: got None'),
    (lambda request: error(request, 'execution', 'no\nweights'), 'reports: execution: no weights'),
    (lambda request: error(request, 'stale', 'Generation'), 'reports: stale: Generation'),
    (lambda request: error(request, None, None), 'the server reports: None: None'),
    (lambda request: b'\xc1', 'not msgpack'), (lambda request: b'', 'not msgpack'),
    (lambda request: b'\x91' * 10_000, 'not msgpack'),
]


def test_an_invalid_reply_is_refused_and_the_next_observation_opens_another_session():
    lies = []
    with lerobot_server(lambda server, request: server.act(
            lies.pop()(request) if lies else action(request))) as (url, server):
        policy = lerobot_policy(url)
        for lie, problem in LIES:
            lies.append(lie)
            owner = server.owner
            with pytest.raises(RemoteError, match=problem) as raised:
                policy.infer(OBSERVATION)
            assert '\n' not in str(raised.value) and url in str(raised.value)
            assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], ANGLE)
            assert server.owner != owner
        assert server.controls.count(('close', 0)) == len(LIES)


def test_a_stalled_server_misses_the_deadline_and_its_late_reply_is_dropped():
    go = threading.Event()

    def stall(server, request):
        if request['body']['task'] == 'stall':
            go.wait(30)
            server.act(action(request, tensor(np.zeros((50, 6), np.float32))))
        else:
            server.act(action(request))

    with lerobot_server(stall) as (url, server):
        assert_late_reply_is_dropped(
            lerobot_policy(url), Observation((IMAGE,), 'stall', np.zeros(6)), OBSERVATION, go,
            ANGLE)
        # The session has outlived it.
        assert server.controls == [('reset', 0)]


def test_replies_to_other_requests_are_no_replies():
    def other(server, request):
        for _ in range(3):
            server.act(action(request, changes={'request_id': 'another'}, canonical_actions='x'))

    with lerobot_server(other) as (url, server):
        policy = lerobot_policy(url)
        policy._deadline = 0.5
        with pytest.raises(RemoteError, match='within 0.5 s: 3 replies to other requests'):
            policy.infer(OBSERVATION)
        policy._deadline = 30.0
        server.reply = good
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], ANGLE)
        assert server.controls == [('reset', 0)]


def test_a_flood_of_replies_ends_the_session():
    def flood(server, request):
        for _ in range(1000):
            server.act(action(request, changes={'request_id': 'another'}))

    with lerobot_server(flood) as (url, server):
        policy = lerobot_policy(url)
        with pytest.raises(RemoteError, match='more replies than requests'):
            for _ in range(100):
                policy.infer(OBSERVATION)
        server.reply = good
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], ANGLE)


def test_a_busy_server_is_named_and_keeps_its_session():
    with lerobot_server(lambda server, request: server.act(error(
            request, 'busy', 'One inference operation is already outstanding'))) as (url, server):
        policy = lerobot_policy(url)
        with pytest.raises(RemoteError, match='reports: busy: One inference'):
            policy.infer(OBSERVATION)
        server.reply = good
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], ANGLE)
        assert server.controls == [('reset', 0)]


def test_a_second_client_is_refused_until_the_first_gives_its_session_back():
    with lerobot_server(good) as (url, server):
        policy = lerobot_policy(url)
        policy.infer(OBSERVATION)
        with pytest.raises(RemoteError, match='busy: Deployment owned by session='):
            lerobot_policy(url)
        del policy
        gc.collect()
        assert server.controls[-1] == ('close', 0) and server.owner is None
        assert np.allclose(lerobot_policy(url).infer(OBSERVATION).actions[0, 0], ANGLE)


def test_a_reset_is_carried_out_before_the_next_observation():
    with lerobot_server(good) as (url, server):
        policy = lerobot_policy(url)
        policy.reset()  # of a session that nothing has happened in
        policy.infer(OBSERVATION)
        assert server.controls == [('reset', 0)]
        policy.reset()
        policy.reset()
        policy.infer(OBSERVATION)
        policy.infer(OBSERVATION)
        assert server.controls == [('reset', 0), ('reset', 1)]
        assert [request['generation'] for request in server.seen] == [0, 1, 1]


def test_a_reset_that_is_late_is_asked_for_again_at_a_higher_generation():
    go = threading.Event()
    with lerobot_server(good) as (url, server):
        policy = lerobot_policy(url)
        policy.infer(OBSERVATION)
        server.reply = lambda server, request: go.wait(30)
        policy._deadline = 0.5
        with pytest.raises(RemoteError, match='no reply within 0.5 s'):
            policy.infer(OBSERVATION)
        policy.reset()
        with pytest.raises(RemoteError, match='no reply within 0.5 s'):
            policy.infer(OBSERVATION)  # the control waits behind the stalled inference
        server.reply = good
        policy._deadline = 30.0
        go.set()
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], ANGLE)
        assert server.controls == [('reset', 0), ('reset', 1), ('reset', 2)]
        assert server.seen[-1]['generation'] == 2


def changed(feature, **changes):
    features = [STATE, FRONT]
    features[features.index(feature)] = {**feature, **changes}
    return {'features': features}


@pytest.mark.parametrize(('capabilities', 'problem'), [
    ({'features': [STATE]}, 'inputs: the server has observation.state, the file of keys has obs'),
    ({'features': [STATE, FRONT, {**FRONT, 'name': 'observation.images.wrist'}]},
     'has observation.images.front, observation.images.wrist, observation.state, the file'),
    ({'features': [STATE, STATE]}, 'a name is there twice'),
    (changed(STATE, shape=[7], names=[]), r'float32 \[7\], the file of keys has tensor .* \[6\]'),
    (changed(STATE, dtype='int64'), r'tensor int64 \[6\], the file of keys has tensor float32 or'),
    (changed(STATE, names=JOINTS[::-1]), 'names: the server has gripper.pos, wrist_roll.pos, .* '
     'the file of keys has shoulder_pan.pos'),
    (changed(STATE, names=[]), 'names: the server has none, the file'),
    (changed(STATE, semantics='radians-v1'), 'observation.state: semantics: the server has '
     'radians-v1, the file of keys has so101-degrees'),
    (changed(FRONT, shape=[240, 320, 3]), r'has \[240, 320\], the file of keys has \[480, 640\]'),
    (changed(FRONT, kind='tensor'), 'front: the server has tensor uint8'),
    (changed(FRONT, dtype='float32'), 'front: the server has rgb float32'),
    (changed(FRONT, semantics='rgb-wrist-v1'), 'front: semantics: the server has rgb-wrist-v1'),
    ({'action_feature': {**ACTION, 'shape': [7], 'names': []}}, r'action: .*tensor float32 \[7\]'),
    ({'action_feature': {**ACTION, 'dtype': 'float64'}}, 'action: the server has tensor float64'),
    ({'action_feature': {**ACTION, 'name': 'motion'}}, 'has motion, the file of keys has action'),
    ({'action_feature': {**ACTION, 'semantics': 'x'}}, 'action: semantics: the server has x'),
    ({'execution_steps': 30}, 'the server has 30, the file of keys has 50'),
    ({'execution_steps': 100_000}, 'execution_steps: got 100000'),
    ({'execution_steps': True}, 'execution_steps: got True'),
    ({'action_interval': 0.0}, 'action_interval: got 0.0'),
    ({'action_interval': '0.03'}, 'action_interval: got'),
    ({'modes': ['rtc_guided']}, r"modes: the server has \['rtc_guided'\], a node takes chunk"),
    ({'modes': None}, 'modes: the server has None'),
    ({'current_observation_only': False}, 'wants earlier observations'),
    ({'action_representation': 'model'}, "gives 'model', a node takes canonical"),
    ({'features': {}}, 'features: got {}'), ({'features': [3]}, 'feature: got 3'),
    (changed(STATE, shape=[True]), r'shape: got \[True\]'), (changed(STATE, names='ab'), "'ab'"),
    (changed(STATE, kind='depth'), "kind: got 'depth'"), (changed(STATE, semantics=''), 'got '),
    ({'action_feature': None}, 'feature: got None')])
def test_a_server_that_declares_something_else_is_refused_at_start(capabilities, problem):
    with lerobot_server(good, capabilities=capabilities) as (url, server):
        with pytest.raises(RemoteError, match=problem) as raised:
            lerobot_policy(url)
        assert '\n' not in str(raised.value) and url in str(raised.value)
        assert server.owner is None  # nothing was opened


@pytest.mark.parametrize(('changes', 'problem'), [
    ({'semantics': 'omx-v1'}, 'semantics: the server has omx-v1, the file of keys has so101-deg'),
    ({'deployment': 'omx'}, "the server is deployment 'omx', asked was manipulation"),
    ({'ready': False, 'failure': 'Policy reset failed'}, 'is not ready: Policy reset failed'),
    ({'instance_id': 'another'}, "instance_id: got 'another' in a message of"),
    ({'artifact_identity': None}, 'artifact_identity: got None'),
    ({'capabilities': None}, 'capabilities: got None'),
    ({'accepted': {'mode': 'rtc_guided'}}, 'on other terms than it declared'),
    ({'accepted': {'artifact_identity': 'sha256-two'}}, 'on other terms than it declared')])
def test_a_server_that_is_another_one_is_refused_at_start(changes, problem):
    with lerobot_server(good, **changes) as (url, server):
        if changes.get('capabilities', '') is None:
            server.describe = lambda: {'deployment': 'manipulation', 'ready': True,
                                       'instance_id': server.instance}
        with pytest.raises(RemoteError, match=problem):
            lerobot_policy(url)


def test_two_replies_to_one_query_are_refused():
    with lerobot_server(good) as (url, server):
        control = server._control
        server._control = lambda request: [control(request)] * 2
        with pytest.raises(RemoteError, match='2 replies to control, it must be one'):
            lerobot_policy(url)
        server._control = lambda request: response(request, 'ack', {
            'operation': 'reset', 'applied_generation': 5})
        end = time.monotonic() + 30.0
        while server.owner is not None:  # the first session is given back in the background
            assert time.monotonic() < end
            time.sleep(0.01)
        with pytest.raises(RemoteError, match=r"has applied \('reset', 5\), asked was reset at"):
            lerobot_policy(url)


def test_a_dataset_with_another_period_is_refused(tmp_path):
    file = tmp_path / 'datasets.yaml'
    file.write_text('so101: {period_s: 0.05}\n')
    with lerobot_server(good) as (url, _):
        with pytest.raises(RemoteError, match='one every 0.0333333 s, dataset so101 has one every '
                                              '0.05 s'):
            lerobot_policy(url, datasets_file=str(file))
        file.write_text('so101: {period_s: 0.0333}\n')
        assert lerobot_policy(url, datasets_file=str(file)).infer(
            OBSERVATION).period_s == 1 / 30


def test_a_server_that_has_gone_is_named_and_taken_again_when_it_is_back():
    port = free_port()
    with lerobot_server(good, port) as (url, server):
        policy = lerobot_policy(url)
        policy.infer(OBSERVATION)
        server.reply = lambda server, request: server.token.undeclare()
        began = time.monotonic()
        with pytest.raises(RemoteError, match='the server has gone'):
            policy.infer(OBSERVATION)
        assert time.monotonic() - began < 20  # not at the deadline of 30 s
    policy._deadline = 0.5
    with pytest.raises(RemoteError, match='no connection to tcp/127.0.0.1|no reply within'):
        policy.infer(OBSERVATION)
    policy._deadline = 30.0
    with lerobot_server(good, port):
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], ANGLE)


def test_a_server_with_another_checkpoint_than_at_the_start_is_refused():
    port = free_port()
    with lerobot_server(good, port) as (url, _):
        policy = lerobot_policy(url)
        policy.infer(OBSERVATION)
    with lerobot_server(good, port, artifact_identity='sha256-two') as (_, server):
        for _ in range(2):  # the first may find that the old one has gone
            with pytest.raises(RemoteError) as raised:
                policy.infer(OBSERVATION)
        assert ("checkpoint 'sha256-two' now, at the start it was 'sha256-one'"
                in str(raised.value))
        assert not server.seen


def test_only_the_checkpoint_that_the_file_names_is_taken(tmp_path):
    path = tmp_path / 'keys.yaml'
    path.write_text(load_text('so101').replace('lerobot:\n', 'lerobot:\n  artifact: sha256-two\n'))
    with lerobot_server(good) as (url, server):
        with pytest.raises(RemoteError, match='artifact: the server has sha256-one, the file of '
                                              'keys has sha256-two'):
            lerobot_policy(url, str(path))


def test_nobody_there_is_one_line_within_the_deadline():
    with socket.create_server(('127.0.0.1', 0)) as silent:
        for port in (silent.getsockname()[1], free_port()):
            began = time.monotonic()
            with pytest.raises(RemoteError, match='no connection to tcp/|no reply within 0.5 s'):
                lerobot_policy(f'tcp://127.0.0.1:{port}/manipulation', deadline_s=0.5)
            assert time.monotonic() - began < 10
    with lerobot_server(good) as (url, _):
        with pytest.raises(RemoteError, match='within 0.5 s: no server under .*/other/des'):
            lerobot_policy(url.replace('manipulation', 'other'), deadline_s=0.5)


@pytest.mark.parametrize('url', [
    'gpu:7447', 'http://gpu:7447/x', 'tcp://gpu/x', 'tcp://gpu:x/x', 'tcp://gpu:7447',
    'tcp://gpu:7447/', 'tcp://gpu:7447/a/b', 'tcp://gpu:7447/*', 'tcp://me@gpu:7447/x'])
def test_an_address_without_port_or_deployment_is_refused(url):
    with pytest.raises(ParameterError, match='tcp://gpu-machine:7447/DEPLOYMENT'):
        lerobot_policy(url)


def test_an_observation_that_the_server_would_not_take_is_not_sent(tmp_path):
    path = tmp_path / 'keys.yaml'
    path.write_text(load_text('so101').replace('image_size: [480, 640]\n', ''))
    with lerobot_server(good) as (url, server):
        policy = lerobot_policy(url, str(path))
        for image, state, problem in (
                (IMAGE[:240], np.zeros(6), r'front: the image has \[240, 640\].* wants \[480, 64'),
                (IMAGE, np.full(6, math.nan), 'state is not finite'),
                (IMAGE, np.full(6, 1e39), 'state is not finite'),
                (IMAGE, np.zeros(5), 'the file of keys has 6 numbers')):
            with np.errstate(over='ignore'), pytest.raises(ObservationError, match=problem):
                policy.infer(Observation((image,), 'pick', state))
        assert not server.seen
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], ANGLE)


def load_text(name):
    from vla_ros.util.share import find_share
    return (find_share() / 'config' / 'lerobot' / f'{name}.yaml').read_text()


@pytest.mark.parametrize(('old', 'new', 'problem'), [
    ('[observation.images.front]', '[[observation, front]]', "'front'.*is one name"),
    ('image_size', 'image_layout: chw\nimage_size', 'hwc alone'),
    ('prompt: task', 'prompt: prompt', 'task alone'),
    ('key: action, steps: 50, dimensions: 6, scale: [0.017453292519943295, '
     '0.017453292519943295, 0.017453292519943295, '
     '0.017453292519943295, 0.017453292519943295, 0.01]}',
     'steps: 50, parts: [{key: action, length: 5}, {key: grip, length: 1}]}', 'one array, under'),
    ('gripper.pos]', 'gripper.pos, x]', 'names: they are 7, for 6 numbers'),
    ('front: {', 'top: {', 'observation.images.front must be both'),
    ('  semantics: so101-degrees-gripper-percent-v1\n  features', '  features', 'semantics is'),
    ('{semantics: rgb-front-table-v1}', '{semantics: 3}', 'front.semantics: got 3'),
    ('{semantics: rgb-front-table-v1}', '{names: []}', 'semantics is missing'),
    ('names: &joints [', 'names: &joints [3, ', 'a list of names'),
    ('57.29577951308232, 57', '0.0, 57', 'state.scale: a factor of 0'),
    ('57.29577951308232, 57', '57', 'state.scale: got .* 6 finite numbers')])
def test_a_file_of_keys_that_does_not_fit_is_named(old, new, problem, tmp_path):
    path = tmp_path / 'keys.yaml'
    text = load_text('so101')
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(KeysError, match=problem) as raised:
        lerobot_policy('tcp://gpu:7447/x', str(path))
    assert str(path) in str(raised.value)


def test_a_file_for_another_protocol_is_refused(tmp_path):
    with pytest.raises(KeysError, match='config/lerobot/so100.yaml: .*missing'):
        lerobot_policy('tcp://gpu:7447/x', 'so100')
    path = tmp_path / 'keys.yaml'
    path.write_text('images: [front]\nprompt: task\ndataset: d\n'
                    'actions: {key: action, steps: 2, dimensions: 3}\n')
    with pytest.raises(KeysError, match='needs lerobot.semantics and lerobot.features'):
        lerobot_policy('tcp://gpu:7447/x', str(path))
    assert load_client_keys('so101', 'lerobot').action_shape == (50, 6)


def test_a_message_beyond_all_bounds_is_never_put_together():
    def huge(server, request):
        server.act(msgpack.packb({'body': b'x' * 2**25}))

    with lerobot_server(huge) as (url, server):
        policy = lerobot_policy(url)
        policy._deadline = 2.0
        with pytest.raises(RemoteError, match='no reply within 2 s'):
            policy.infer(OBSERVATION)
        server.reply = good
        policy._deadline = 30.0
        assert np.allclose(policy.infer(OBSERVATION).actions[0, 0], ANGLE)


def test_a_package_that_is_missing_is_named(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'zenoh', None)
    named = 'eclipse-zenoh is not installed.*requirements-serve'
    with pytest.raises(UnsupportedError, match=named):
        lerobot_policy('tcp://gpu:7447/x')
