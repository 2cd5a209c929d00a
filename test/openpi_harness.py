# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A server and a client of openpi's protocol, written from its public description."""

from contextlib import contextmanager
import threading

import numpy as np
import pytest

from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy

msgpack = pytest.importorskip('msgpack')
pytest.importorskip('websockets', minversion='15')

from websockets.sync.client import connect  # noqa: E402, I100
from websockets.sync.server import serve  # noqa: E402


def encode(value):
    """Write an array as openpi's msgpack_numpy does."""
    if isinstance(value, np.ndarray):
        return {b'__ndarray__': True, b'data': value.tobytes(), b'dtype': value.dtype.str,
                b'shape': value.shape}
    if isinstance(value, np.generic):
        return {b'__npgeneric__': True, b'data': value.item(), b'dtype': value.dtype.str}
    return value


def decode(entry):
    """Read an array as openpi's msgpack_numpy does."""
    if b'__ndarray__' in entry:
        return np.ndarray(entry[b'shape'], entry[b'dtype'], entry[b'data'])
    return entry


def pack(value):
    return msgpack.packb(value, default=encode)


def unpack(message):
    return msgpack.unpackb(message, object_hook=decode)


class Server:
    """Sends its metadata, and passes each observation to a function that sends replies."""

    def __init__(self, reply, greeting=None):
        self.reply = reply
        self.greeting = pack({'reset_pose': [0.0]}) if greeting is None else greeting
        self.seen = []
        self.keys = []
        self.connections = 0

    def handle(self, connection):
        self.connections += 1
        self.keys.append(connection.request.headers.get('Authorization'))
        connection.send(self.greeting)
        for message in connection:
            self.seen.append(unpack(message))
            self.reply(connection, self.seen[-1])


@contextmanager
def openpi_server(reply, greeting=None):
    """Serve; yield the address and the server."""
    handler = Server(reply, greeting)
    server = serve(handler.handle, '127.0.0.1', 0, compression=None, max_size=None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f'ws://127.0.0.1:{server.socket.getsockname()[1]}', handler
    finally:
        server.shutdown()
        thread.join()


def openpi_policy(url, keys='pi05_droid', deadline_s=30.0, **settings):
    return load_policy(PolicyConfig(policy='remote', protocol='openpi', url=url, keys_file=keys,
                                    deadline_s=deadline_s, **settings))


class Client:
    """Sends observations, as openpi's WebsocketClientPolicy does."""

    def __init__(self, port, key=None):
        self.connection = connect(
            f'ws://127.0.0.1:{port}', compression=None, max_size=None, proxy=None,
            additional_headers={'Authorization': f'Api-Key {key}'} if key else None).__enter__()
        self.metadata = unpack(self.connection.recv(30))

    def infer(self, observation):
        self.connection.send(pack(observation))
        reply = self.connection.recv(30)
        if isinstance(reply, str):
            raise RuntimeError(reply)
        return unpack(reply)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
