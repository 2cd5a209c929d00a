# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Messages of LeRobot's remote inference, protocol 1: a map in msgpack that says what it is about.

Instance, session, generation and request say which exchange a message belongs to; they are read
before its body is decoded. An array is a map with ``__lerobot_type__``, and nothing in a message
can run code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math
import re
from typing import Any

import msgpack
import numpy as np

from vla_ros.data.msgpack_numpy import make_array
from vla_ros.data.msgpack_numpy import MsgpackError

VERSION = 1
_TYPES = frozenset(('describe', 'descriptor', 'open', 'accepted', 'control', 'ack', 'observation',
                    'action', 'language_request', 'language_result', 'error'))
_DTYPES = frozenset(('bool', 'uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'uint64',
                     'int64', 'float16', 'float32', 'float64'))
_ORDERS: dict[str, Any] = {'little': '<', 'big': '>'}
_MARKER = '__lerobot_type__'
_SEGMENT = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.-]{0,127}')
# The limits of LeRobot's own reader.
_MOST_ITEMS, _MOST_TEXT, _MOST_DEPTH = 4096, 16384, 16


@dataclass(frozen=True)
class LeRobotMessage:
    """
    One message.

    :param kind: what it is, such as ``observation``.
    :param instance: the server's process that it is about; empty before one is known.
    :param session: likewise.
    :param generation: raised by each reset of the session.
    :param request: of a reply: the request that it answers.
    :param body: of a message that was read: not decoded, see :func:`decode_body`.
    """

    kind: str
    instance: str = ''
    session: str = ''
    generation: int = 0
    request: str = ''
    body: object = None


@dataclass(frozen=True)
class RgbImage:
    """
    An image that goes out as one.

    :param shape: (height, width, 3).
    :param data: uint8 RGB, row by row.
    """

    shape: tuple[int, ...]
    data: bytes


def is_segment(text: object) -> bool:
    """Check a name that becomes a part of a key: no wildcard, no slash."""
    return isinstance(text, str) and _SEGMENT.fullmatch(text) is not None


def pack_message(message: LeRobotMessage) -> bytes:
    """
    Write a message, with arrays of numbers and :class:`RgbImage` in its body.

    :raises TypeError: something in it is neither plain data nor such an array.
    """
    packed: bytes = msgpack.packb(
        {'version': VERSION, 'message_type': message.kind, 'instance_id': message.instance,
         'session_id': message.session, 'generation': message.generation,
         'request_id': message.request, 'body': message.body}, default=_encode)
    return packed


def unpack_message(content: bytes) -> LeRobotMessage:
    """
    Read a message without its body, which may belong to an exchange that is over.

    :raises MsgpackError: it is no message of this protocol.
    """
    try:
        entries = msgpack.unpackb(
            content, object_pairs_hook=_unique, max_str_len=_MOST_TEXT, max_ext_len=0,
            max_array_len=_MOST_ITEMS, max_map_len=_MOST_ITEMS)
    except (ValueError, TypeError, RecursionError) as error:
        raise MsgpackError(f'message: not msgpack: {str(error)[:200]!r}') from None
    if not isinstance(entries, Mapping):
        raise MsgpackError('message: it must be a map')
    version = entries.get('version')
    if type(version) is not int or version != VERSION:
        raise MsgpackError(f'message: version: got {_short(version)}, this client speaks '
                           f'{VERSION}')
    kind, generation = entries.get('message_type'), entries.get('generation')
    if not isinstance(kind, str) or kind not in _TYPES:
        raise MsgpackError(f'message: message_type: got {_short(kind)}, which is none')
    if type(generation) is not int or not 0 <= generation < 2**63:
        raise MsgpackError(f'message: generation: got {_short(generation)}, it must be a whole '
                           'number from 0')
    names: list[Any] = []
    for key in ('instance_id', 'session_id', 'request_id'):
        name = entries.get(key)
        if name != '' and not is_segment(name):
            raise MsgpackError(f'message: {key}: got {_short(name)}, it must be a name')
        names.append(name)
    return LeRobotMessage(kind, names[0], names[1], generation, names[2], entries.get('body'))


def decode_body(message: LeRobotMessage) -> dict[str, Any]:
    """
    Decode the body of a message that was read; its arrays are read-only.

    :raises MsgpackError: it is no map, or holds an invalid array.
    """
    if not isinstance(message.body, dict):
        raise MsgpackError(f'message: body: got {_short(message.body)}, it must be a map')
    decoded: dict[str, Any] = _decode(message.body, 0)
    return decoded


def _encode(value: object) -> object:
    if isinstance(value, RgbImage):
        return {_MARKER: 'rgb', 'encoding': 'raw', 'shape': value.shape, 'dtype': 'uint8',
                'channel_order': 'RGB', 'data': value.data}
    if isinstance(value, np.ndarray) and value.dtype.name in _DTYPES:
        return {_MARKER: 'tensor', 'dtype': value.dtype.name, 'shape': value.shape,
                'endianness': 'little',
                'data': value.astype(value.dtype.newbyteorder('<'), copy=False).tobytes()}
    raise TypeError(f'{type(value).__name__} cannot be written as msgpack')


def _unique(pairs: list[tuple[object, object]]) -> dict[object, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs) or not all(isinstance(key, str) for key in entries):
        raise ValueError('a map must have strings for keys, each of them once')
    return entries


def _decode(value: Any, depth: int) -> Any:
    if depth > _MOST_DEPTH:
        raise MsgpackError(f'message: nested deeper than {_MOST_DEPTH}')
    if isinstance(value, list):
        return [_decode(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise MsgpackError('message: a number is not finite')
    if not isinstance(value, dict):
        return value
    if _MARKER not in value:
        return {key: _decode(item, depth + 1) for key, item in value.items()}
    if value[_MARKER] != 'tensor':
        raise MsgpackError(f'message: an array of {_short(value[_MARKER])} is not read, only a '
                           'tensor')
    dtype, order = value.get('dtype'), value.get('endianness')
    if not isinstance(dtype, str) or dtype not in _DTYPES or not isinstance(order, str) \
            or order not in _ORDERS:
        raise MsgpackError(f'message: a tensor of {_short(dtype)}, {_short(order)} endian, is not '
                           'read, only of numbers')
    return make_array(value.get('data'), np.dtype(dtype).newbyteorder(_ORDERS[order]).str,
                      value.get('shape'))


def _short(value: object) -> str:
    return repr(value)[:60]
