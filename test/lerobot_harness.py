# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A policy server of LeRobot's remote inference, written from the public text of its protocol."""

from contextlib import contextmanager
import json
from queue import SimpleQueue
import socket
import threading
from uuid import uuid4

import numpy as np
import pytest

from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy

msgpack = pytest.importorskip('msgpack')
zenoh = pytest.importorskip('zenoh', reason='the package eclipse-zenoh is not installed')

DEPLOYMENT = 'manipulation'
ARTIFACT = 'sha256-one'
CONVENTION = 'so101-degrees-gripper-percent-v1'
JOINTS = ['shoulder_pan.pos', 'shoulder_lift.pos', 'elbow_flex.pos', 'wrist_flex.pos',
          'wrist_roll.pos', 'gripper.pos']
STATE = {'name': 'observation.state', 'shape': [6], 'dtype': 'float32', 'kind': 'tensor',
         'names': JOINTS, 'semantics': CONVENTION}
FRONT = {'name': 'observation.images.front', 'shape': [480, 640, 3], 'dtype': 'uint8',
         'kind': 'rgb', 'names': [], 'semantics': 'rgb-front-table-v1'}
ACTION = {'name': 'action', 'shape': [6], 'dtype': 'float32', 'kind': 'tensor', 'names': JOINTS,
          'semantics': CONVENTION}
CAPABILITIES = {
    'modes': ['chunk'], 'prediction_steps': 50, 'execution_steps': 50, 'action_interval': 1 / 30,
    'features': [STATE, FRONT], 'action_feature': ACTION, 'language': False,
    'training_max_delay': 0, 'rtc_horizon': 0, 'current_observation_only': True,
    'retains_session_state': True, 'action_representation': 'canonical'}


def tensor(array, **changes):
    """Write an array as the protocol does."""
    return {'__lerobot_type__': 'tensor', 'dtype': array.dtype.name, 'shape': list(array.shape),
            'endianness': 'little', 'data': array.tobytes(), **changes}


def read(value):
    """Return arrays for the records of the protocol."""
    if not isinstance(value, dict) or '__lerobot_type__' not in value:
        return value
    if value['__lerobot_type__'] == 'rgb':
        assert (value['encoding'], value['channel_order']) == ('raw', 'RGB')
    else:
        assert value['endianness'] == 'little'
    return np.frombuffer(value['data'], value['dtype']).reshape(value['shape'])


def response(request, kind, body, **changes):
    """Write a reply, which repeats what the request says about itself."""
    return {**request, 'message_type': kind, 'body': body, **changes}


def action(request, actions=None, changes=None, **body):
    """
    Write the reply to an observation.

    :param actions: the record of the actions.
    :param changes: of the message around the body.
    """
    seen = request['body']
    return {**response(request, 'action', {
        **{key: seen[key] for key in ('artifact_identity', 'observation_id', 'capture_time',
                                      'task', 'task_version')},
        'canonical_actions': tensor(np.full((50, 6), 90.0, np.float32))
        if actions is None else actions, 'model_actions': None, 'execution_steps': 50,
        'server_durations': {'queue': 0.0, 'worker': 0.001}, **body}), **(changes or {})}


def error(request, code, text):
    return response(request, 'error', {'code': code, 'message': text})


class Server:
    """Admits one session, and gives each observation in it to a function."""

    def __init__(self, reply, port, **changes):
        self.reply = reply
        self.port = port
        self.changes = changes
        self.seen = []
        self.controls = []
        self.start()

    def start(self):
        """Begin, or begin anew, as a process does that was started again."""
        self.instance = uuid4().hex
        self.owner = None
        self._held = []
        self._events = SimpleQueue()
        prefix = f'lerobot/inference/v1/deployments/{DEPLOYMENT}'
        config = zenoh.Config()
        for key, value in {
                'mode': 'peer', 'listen/endpoints': [f'tcp/127.0.0.1:{self.port}'],
                'scouting/multicast/enabled': False, 'scouting/gossip/enabled': False}.items():
            config.insert_json5(key, json.dumps(value))
        self._session = zenoh.open(config)
        self._listen(f'{prefix}/describe', self._describe)
        self._mine = f'{prefix}/instances/{self.instance}'
        self._listen(f'{self._mine}/open', self._open)
        self.token = self._session.liveliness().declare_token(f'{self._mine}/alive')
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def describe(self):
        """Return what the server says about itself; None as a change leaves an entry out."""
        capabilities = {**CAPABILITIES, **self.changes.get('capabilities', {})}
        body = {'deployment': DEPLOYMENT, 'instance_id': self.instance,
                'artifact_identity': ARTIFACT, 'semantics': CONVENTION, 'ready': True,
                'available': self.owner is None, 'failure': None, **self.changes,
                'capabilities': capabilities}
        return {key: value for key, value in body.items() if key != 'accepted'}

    def act(self, message):
        """Publish where the client waits for replies; a map is written as msgpack."""
        content = message if isinstance(message, bytes) else msgpack.packb(message)
        self._session.put(f'{self._mine}/sessions/{self.owner}/act', content)

    def end(self):
        self._events.put(None)
        self._thread.join()
        self._session.close()

    def _listen(self, key, handle):
        def put(query):
            self._events.put((query, handle))
        declared = self._session.declare_queryable(
            key, zenoh.handlers.Callback(put, indirect=False), complete=True)
        self._held.append(declared)

    def _run(self):
        while (event := self._events.get()) is not None:
            source, handle = event
            request = msgpack.unpackb(source.payload.to_bytes())
            assert request['version'] == 1
            if handle is None:
                request['body']['features'] = {
                    key: read(value) for key, value in request['body']['features'].items()}
                self.seen.append(request)
                self.reply(self, request)
                continue
            replies = handle(request)
            for reply in replies if isinstance(replies, list) else [replies]:
                source.reply(source.key_expr, reply if isinstance(reply, bytes)
                             else msgpack.packb(reply))
            source.drop()

    def _describe(self, request):
        assert request['message_type'] == 'describe'
        return response(request, 'descriptor', self.describe(), instance_id=self.instance)

    def _open(self, request):
        assert request['message_type'] == 'open'
        if self.owner is not None:
            return error(request, 'busy', f'Deployment owned by session={self.owner}')
        self.opened = request['body']
        self.owner = owner = uuid4().hex
        key = f'{self._mine}/sessions/{owner}'
        self._listen(f'{key}/control', self._control)
        self._held.append(self._session.declare_subscriber(
            f'{key}/obs', zenoh.handlers.Callback(lambda sample: self._events.put((sample, None)),
                                                  indirect=False)))
        terms = {**self.describe(), 'mode': 'chunk', **self.changes.get('accepted', {})}
        return response(request, 'accepted', terms, session_id=owner)

    def _control(self, request):
        if request['session_id'] != self.owner:
            return error(request, 'stale', 'Session does not match')
        operation = request['body']['operation']
        self.controls.append((operation, request['generation']))
        if operation == 'close':
            self.owner = None
        return response(request, 'ack', {'operation': operation,
                                         'applied_generation': request['generation']})


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as found:
        return found.getsockname()[1]


@contextmanager
def lerobot_server(reply, port=0, **changes):
    """Serve; yield the address and the server. Changes are those of what it declares."""
    server = Server(reply, port or free_port(), **changes)
    try:
        yield f'tcp://127.0.0.1:{server.port}/{DEPLOYMENT}', server
    finally:
        server.end()


def lerobot_policy(url, keys='so101', deadline_s=30.0, **settings):
    return load_policy(PolicyConfig(policy='remote', protocol='lerobot', url=url, keys_file=keys,
                                    deadline_s=deadline_s, **settings))
