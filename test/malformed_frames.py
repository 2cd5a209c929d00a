# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Malformed websocket frames for an openpi endpoint; ``python malformed_frames.py PORT [N]``.

Half of them are frames that the websocket protocol forbids, the others messages that are no
observation. Prints one JSON object: frames by kind, and what became of their connections.
"""

import base64
from collections import Counter
import json
import os
import random
import socket
import struct
import sys

import msgpack
import numpy as np

_IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def _array(value):
    return {b'__ndarray__': True, b'data': value.tobytes(), b'dtype': value.dtype.str,
            b'shape': value.shape}


OBSERVATION = msgpack.packb({
    'observation/image': _array(_IMAGE), 'observation/wrist_image': _array(_IMAGE),
    'observation/state': _array(np.zeros(8)), 'prompt': 'fold'})


def connect(port):
    """Open a websocket, and leave the rest to the caller."""
    connection = socket.create_connection(('127.0.0.1', port), 30)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        f'Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n'.encode())
    # Data before the handshake has ended is not read as a frame.
    reply = b''
    while b'\r\n\r\n' not in reply:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError
        reply += piece
    return connection


def frame(payload, opcode=2, first=0x80, masked=True, claimed=None):
    """Write a frame, any part of which may be invalid."""
    length = len(payload) if claimed is None else claimed
    mask = os.urandom(4) if masked else b''
    flag = 0x80 if masked else 0
    if length < 126:
        head = struct.pack('!BB', first | opcode, flag | length)
    elif length < 2**16:
        head = struct.pack('!BBH', first | opcode, flag | 126, length)
    else:
        head = struct.pack('!BBQ', first | opcode, flag | 127, length)
    if masked:
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return head + mask + payload


def forbidden(rng):
    """Return a frame that the protocol forbids, and its kind."""
    payload = rng.randbytes(rng.randrange(100))
    kinds = {
        'random bytes': lambda: rng.randbytes(rng.randrange(1, 200)),
        'reserved opcode': lambda: frame(payload, rng.choice((3, 4, 5, 6, 7, 11, 15))),
        'reserved bit': lambda: frame(payload, first=0x80 | rng.choice((0x10, 0x20, 0x40))),
        'no mask': lambda: frame(payload, masked=False),
        'split ping': lambda: frame(payload[:50], 9, first=0),
        'long ping': lambda: frame(bytes(126), 9),
        'stray continuation': lambda: frame(payload, 0),
        'no UTF-8': lambda: frame(b'\xff\xfe' + payload, 1),
        'too long': lambda: frame(payload, claimed=rng.choice((2**31, 2**40, 2**63 - 1))),
        'negative length': lambda: frame(payload, claimed=2**63),
        'bad close': lambda: frame(struct.pack('!H', rng.choice((0, 999, 1005, 5000))), 8),
        'cut short': lambda: frame(OBSERVATION)[:rng.randrange(1, 300)]}
    kind = rng.choice(list(kinds))
    return kind, kinds[kind]()


def nonsense(rng):
    """Return an invalid message, and its kind."""
    message = bytearray(OBSERVATION)
    kinds = ('changed', 'cut', 'random', 'nested', 'text', 'empty', 'huge map')
    kind = rng.choice(kinds)
    if kind == 'changed':
        for _ in range(rng.randrange(1, 8)):
            message[rng.randrange(len(message))] = rng.randrange(256)
    elif kind == 'cut':
        del message[rng.randrange(len(message)):]
    elif kind == 'random':
        message = bytearray(rng.randbytes(rng.randrange(300)))
    elif kind == 'nested':
        message = bytearray(rng.choice((b'\x91', b'\x81\xa1x')) * rng.randrange(1, 2000))
    elif kind == 'huge map':
        message = bytearray(b'\xdf\xff\xff\xff\xff' + b'\xc4' * rng.randrange(20))
    elif kind == 'empty':
        message = bytearray()
    text = kind == 'text'
    return kind, frame(b'{"prompt": 3}' if text else bytes(message), 1 if text else 2)


def attack(port, count, seed=0):
    """Send frames, several on a connection as long as it stays; count them and its ends."""
    rng, kinds, ends, connection = random.Random(seed), Counter(), Counter(), None
    for _ in range(count):
        kind, data = (forbidden if rng.random() < 0.5 else nonsense)(rng)
        kinds[kind] += 1
        try:
            connection = connection or connect(port)
            connection.sendall(data)
            if rng.random() < 0.1:  # go away without a word
                connection.close()
                connection = None
                ends['left'] += 1
            elif rng.random() < 0.3:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
                connection = None
                ends['read to the end'] += 1
        except OSError as error:
            ends[type(error).__name__] += 1
            connection = None
    if connection is not None:
        connection.close()
    return {'frames': count, 'kinds': dict(sorted(kinds.items())), 'ends': dict(ends)}


if __name__ == '__main__':
    print(json.dumps(attack(*map(int, [*sys.argv[1:], '10000'][:2]))))
