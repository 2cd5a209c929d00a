# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A server of GR00T's protocol in the forms of its releases, written from its public code."""

from contextlib import contextmanager
import io
import json
import threading

import numpy as np
import pytest

from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy

msgpack = pytest.importorskip('msgpack')
zmq = pytest.importorskip('zmq')

RELEASES = ('n1.5', 'n1.6', 'n1.7')
MODALITIES = {
    'video': {'modality_keys': ['front', 'wrist'], 'delta_indices': [0]},
    'state': {'modality_keys': ['single_arm', 'gripper'], 'delta_indices': [0]},
    'action': {'modality_keys': ['single_arm', 'gripper'], 'delta_indices': list(range(16))},
    'language': {'modality_keys': ['annotation.human.task_description'], 'delta_indices': [0]}}


def encode(value):
    """Write an array as N1.5 and N1.6 do."""
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=False)
    return {'__ndarray_class__': True, 'as_npy': stream.getvalue()}


def encode_n17(value):
    """Write an array as the server of N1.7 does, which is as msgpack-numpy does."""
    return {b'nd': True, b'type': value.dtype.str, b'kind': b'', b'shape': value.shape,
            b'data': value.tobytes()}


def decode(entry):
    if '__ndarray_class__' in entry:
        return np.load(io.BytesIO(entry['as_npy']), allow_pickle=False)
    return entry


def pack(value, release='n1.6'):
    return msgpack.packb(value, default=encode_n17 if release == 'n1.7' else encode)


def describe(modalities, release):
    """Return the reply of a server about its modalities."""
    if release == 'n1.5':
        flat = {name: {**entry, 'modality_keys': [
            key if name == 'language' else f'{name}.{key}' for key in entry['modality_keys']]}
            for name, entry in modalities.items()}
        return {name: {'__ModalityConfig_class__': True, 'as_json': json.dumps(entry)}
                for name, entry in flat.items()}
    marker = '__ModalityConfig__' if release == 'n1.7' else '__ModalityConfig_class__'
    return {name: {marker: True, 'as_json': entry} for name, entry in modalities.items()}


def chunk(release='n1.6', arm=0.5, steps=16, dtype=np.float32):
    """Return the reply to an observation."""
    parts = {'single_arm': np.full((1, steps, 5), arm, dtype),
             'gripper': np.full((1, steps, 1), 0.25, dtype)}
    if release == 'n1.5':  # without the batch, and without axes of one
        return {f'action.{name}': part[0].squeeze() for name, part in parts.items()}
    return [parts, {}]


class Server:
    """Passes each request to a function that sends replies."""

    def __init__(self, reply, modalities, release):
        self.reply = reply
        self.modalities = describe(modalities, release)
        self.seen = []
        self.tokens = []
        self._envelope = []
        self._socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self.port = self._socket.bind_to_random_port('tcp://127.0.0.1')
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def send(self, message, number=None):
        """Send a reply; another number makes it one to another request."""
        peer, mine, *rest = self._envelope
        self._socket.send_multipart([peer, mine if number is None else number, *rest, message])

    def _run(self):
        while not self._is_ended.is_set():
            if not self._socket.poll(20):
                continue
            *self._envelope, message = self._socket.recv_multipart()
            request = msgpack.unpackb(message, object_hook=decode)
            self.tokens.append(request.get('api_token'))
            if request['endpoint'] == 'get_modality_config':
                self.send(pack(self.modalities))
            else:
                self.seen.append(request['data'])
                self.reply(self.send, request['data'])
        self._socket.close()

    def end(self):
        self._is_ended.set()
        self._thread.join()


@contextmanager
def gr00t_server(reply, modalities=MODALITIES, release='n1.6'):
    """Serve; yield the address and the server."""
    server = Server(reply, modalities, release)
    try:
        yield f'tcp://127.0.0.1:{server.port}', server
    finally:
        server.end()


def gr00t_policy(url, keys='so100', deadline_s=30.0, **settings):
    return load_policy(PolicyConfig(policy='remote', protocol='gr00t', url=url, keys_file=keys,
                                    deadline_s=deadline_s, **settings))
