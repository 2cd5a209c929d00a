# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Arrays in msgpack, in the formats of GR00T's inference server.

Its releases up to the first ones of N1.7 write an array as ``.npy`` (``__ndarray_class__``,
``as_npy``), later ones as the package msgpack-numpy does (``nd``, ``type``, ``shape``, ``data``,
bytes); all of them read the first. Only arrays of numbers are read: nothing in a message can run
code, and nothing is unpickled.
"""

import io
from typing import Any

import msgpack
import numpy as np

from vla_ros.data.msgpack_numpy import make_array
from vla_ros.data.msgpack_numpy import MsgpackError

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}


def pack(value: object) -> bytes:
    """
    Write msgpack, arrays of numbers as ``.npy``.

    :raises TypeError: something in it is neither plain data nor an array.
    :raises ValueError: an array holds objects.
    """
    packed: bytes = msgpack.packb(value, default=_encode)
    return packed


def unpack(message: bytes) -> Any:
    """
    Read msgpack, arrays of either format included; an array is read-only.

    :raises MsgpackError: it is not msgpack, or holds an invalid array.
    """
    try:
        return msgpack.unpackb(message, object_hook=_decode)
    except (ValueError, TypeError, RecursionError) as error:
        raise MsgpackError(f'message: not msgpack: {str(error)[:200]!r}') from None


def _encode(value: object) -> object:
    if not isinstance(value, np.ndarray):
        raise TypeError(f'{type(value).__name__} cannot be written as msgpack')
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=False)
    return {'__ndarray_class__': True, 'as_npy': stream.getvalue()}


def _decode(entry: dict) -> object:
    if '__ndarray_class__' in entry:
        return _decode_npy(entry.get('as_npy'))
    if entry.get(b'nd'):
        return make_array(entry.get(b'data'), entry.get(b'type'), entry.get(b'shape'))
    return entry


def _decode_npy(content: object) -> np.ndarray:
    """Read the header first: np.load makes room for whatever shape it claims."""
    if not isinstance(content, bytes):
        raise MsgpackError('message: an array must have as_npy, bytes')
    stream = io.BytesIO(content)
    try:
        shape, is_fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except (ValueError, KeyError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise MsgpackError('message: as_npy is no .npy file of numbers') from None
    data = content[stream.tell():]
    if is_fortran:
        return make_array(data, dtype.str, shape[::-1]).T
    return make_array(data, dtype.str, shape)
