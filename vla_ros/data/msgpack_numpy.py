# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Arrays in msgpack, in the format of openpi's client and server.

An array is a map with the keys ``__ndarray__``, ``data``, ``dtype`` and ``shape``, a NumPy number
one with ``__npgeneric__``, all of them bytes. Only numbers, truth values and strings are read:
nothing in a message can run code or make an array of objects.
"""

import math
from typing import Any

import msgpack
import numpy as np

from vla_ros.errors import VlaError

_KINDS = 'biuf'


class MsgpackError(VlaError):
    """A message that is not msgpack, or an invalid array in it."""


def pack(value: object) -> bytes:
    """
    Write msgpack, arrays included.

    :raises TypeError: something in it is neither plain data nor an array of numbers.
    """
    packed: bytes = msgpack.packb(value, default=_encode)
    return packed


def unpack(message: bytes) -> Any:
    """
    Read msgpack, arrays included; an array is read-only.

    :raises MsgpackError: it is not msgpack, or holds an invalid array.
    """
    try:
        return msgpack.unpackb(message, object_hook=_decode)
    except (ValueError, TypeError, RecursionError) as error:
        raise MsgpackError(f'message: not msgpack: {str(error)[:200]!r}') from None


def _encode(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in _KINDS:
        if isinstance(value, np.ndarray):
            return {b'__ndarray__': True, b'data': value.tobytes(), b'dtype': value.dtype.str,
                    b'shape': value.shape}
        return {b'__npgeneric__': True, b'data': value.item(), b'dtype': value.dtype.str}
    raise TypeError(f'{type(value).__name__} cannot be written as msgpack')


def _decode(entry: dict) -> object:
    if b'__ndarray__' in entry:
        return _decode_array(entry)
    if b'__npgeneric__' in entry:
        return _decode_number(entry)
    return entry


def _decode_array(entry: dict) -> np.ndarray:
    return make_array(entry.get(b'data'), entry.get(b'dtype'), entry.get(b'shape'))


def make_array(data: object, dtype_name: object, shape: object) -> np.ndarray:
    """
    Make the array that a message describes; it is read-only.

    :raises MsgpackError: it describes no array of numbers.
    """
    dtype = _dtype(dtype_name)
    if not isinstance(data, bytes) or not isinstance(shape, (list, tuple)):
        raise MsgpackError('message: an array must have data, bytes, and shape, a list')
    if any(type(size) is not int or size < 0 for size in shape):
        raise MsgpackError(f'message: {str(shape)[:60]} is no shape of an array')
    if len(shape) > 8 or math.prod(shape) * dtype.itemsize != len(data):
        raise MsgpackError(f'message: {len(data)} bytes are no array of {dtype} and shape '
                           f'{str(shape)[:60]}')
    return np.frombuffer(data, dtype).reshape(shape)


def _decode_number(entry: dict) -> object:
    value: Any = entry.get(b'data')
    if isinstance(value, str):
        return value  # a string of NumPy
    dtype = _dtype(entry.get(b'dtype'))
    if type(value) not in (bool, int, float) or dtype.kind in 'iu' and not (
            np.iinfo(dtype).min <= value <= np.iinfo(dtype).max):
        raise MsgpackError(f'message: {str(value)[:60]!r} is no number of {dtype}')
    return dtype.type(value)


def _dtype(name: object) -> np.dtype:
    try:
        dtype = np.dtype(name) if isinstance(name, str) else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in _KINDS or dtype.subdtype is not None:
        raise MsgpackError(f'message: an array of {str(name)[:60]!r} is not read, only of numbers')
    return dtype
