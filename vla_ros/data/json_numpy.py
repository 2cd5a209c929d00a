# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Arrays in JSON, in the format of the json-numpy package that the official servers speak.

An array is ``{"__numpy__": base64 of its bytes, "dtype": "<f8", "shape": [7]}``. Only numbers and
truth values are read: nothing in a request can run code or make an array of objects.
"""

import base64
import binascii
import json
import math
from typing import Any

import numpy as np

from vla_ros.errors import VlaError

_KINDS = 'biuf'


class JsonError(VlaError):
    """A body that is not JSON, or an invalid array in it."""


def dumps(value: object, compact: bool = False) -> str:
    """
    Write JSON, arrays included.

    :param compact: without spaces, as web frameworks write it; else as Python's json does.
    :raises ValueError: a number is not finite.
    """
    separators = (',', ':') if compact else None
    return json.dumps(value, default=_encode, separators=separators, ensure_ascii=not compact,
                      allow_nan=not compact)


def loads(text: str | bytes) -> Any:
    """
    Read JSON, arrays included.

    :raises JsonError: it is not JSON, or holds an invalid array.
    """
    try:
        return json.loads(text, object_hook=_decode)
    except (ValueError, RecursionError) as error:
        raise JsonError(f'body: not JSON: {str(error)[:200]}') from None


def _encode(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return {'__numpy__': base64.b64encode(array.tobytes()).decode('ascii'),
                'dtype': array.dtype.str, 'shape': list(array.shape)}
    raise TypeError(f'{type(value).__name__} cannot be written as JSON')


def _decode(entry: dict) -> object:
    if '__numpy__' not in entry:
        return entry
    try:
        data = base64.b64decode(entry['__numpy__'], validate=True)
        dtype = np.dtype(entry['dtype'])
        shape = [_length(size) for size in entry['shape']]
    except (KeyError, TypeError, ValueError, SyntaxError, binascii.Error) as error:
        raise JsonError(f'body: not an array: {str(error)[:200]!r}') from None
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.subdtype is not None:
        raise JsonError(f'body: an array of {dtype} is not read, only of numbers')
    if len(shape) > 8 or math.prod(shape) * dtype.itemsize != len(data):
        raise JsonError(f'body: {len(data)} bytes are no array of {dtype} and shape {shape}')
    array = np.frombuffer(data, dtype).reshape(shape)
    return array if shape else array[()]


def _length(size: object) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f'{size!r} is no length')
    return size
