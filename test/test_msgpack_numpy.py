# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Arrays in msgpack as openpi writes them; other types are refused."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
import numpy as np
import openpi_harness
from openpi_harness import msgpack
import pytest

from vla_ros.data.msgpack_numpy import MsgpackError
from vla_ros.data.msgpack_numpy import pack
from vla_ros.data.msgpack_numpy import unpack

ARRAYS = [np.arange(6, dtype=np.uint8).reshape(1, 2, 3), np.zeros((0, 3), np.float32),
          np.array(2.5), np.array([True, False]), np.arange(4, dtype='>i4')[::2]]


@pytest.mark.parametrize('array', ARRAYS, ids=range(len(ARRAYS)))
def test_client_and_server_read_each_others_arrays(array):
    for message in (pack({'a': array}), openpi_harness.pack({'a': array})):
        for read in (unpack, openpi_harness.unpack):
            value = read(message)['a']
            assert value.dtype == array.dtype and np.array_equal(value, array)


def test_numpy_scalars_and_strings_are_read():
    value = unpack(openpi_harness.pack({'n': np.float32(0.5), 's': np.str_('open'), 'i': 3}))
    assert value == {'n': 0.5, 's': 'open', 'i': 3} and isinstance(value['n'], np.float32)
    assert unpack(pack({'n': np.int64(7)})) == {'n': 7}


def packed(**changes):
    entry = {b'__ndarray__': True, b'data': bytes(8), b'dtype': '<f4', b'shape': [2], **changes}
    return msgpack.packb({key.encode() if isinstance(key, str) else key: value
                          for key, value in entry.items()})


@pytest.mark.parametrize(('message', 'problem'), [
    (packed(dtype='|O'), 'only of numbers'), (packed(dtype='V8'), 'only of numbers'),
    (packed(dtype='<c8'), 'only of numbers'), (packed(dtype='2<f4'), 'only of numbers'),
    (packed(dtype=['f4']), 'only of numbers'), (packed(dtype='f4,f4'), 'only of numbers'),
    (packed(dtype=None), 'only of numbers'), (packed(data='text'), 'data, bytes'),
    (packed(data=bytes(7)), '7 bytes are no array'), (packed(shape=[3]), '8 bytes are no array'),
    (packed(shape=[2**40, 2**40]), 'are no array'), (packed(shape=[-2]), 'no shape'),
    (packed(shape=[True, 2]), 'no shape'), (packed(shape='2'), 'shape, a list'),
    (packed(shape=[1] * 60 + [2]), 'no array'),
    (msgpack.packb({b'__npgeneric__': True, b'data': b'x', b'dtype': '<f4'}), 'no number'),
    (msgpack.packb({b'__npgeneric__': True, b'data': 300, b'dtype': '|u1'}), 'no number'),
    (b'', 'not msgpack'), (b'\xc1', 'not msgpack'), (b'\x01\x02', 'not msgpack'),
    (b'\x91' * 100_000, 'not msgpack'), (b'\xdd\xff\xff\xff\xff', 'not msgpack'),
    (msgpack.packb({1: 2}), 'not msgpack'), (b'\xa1\xff', 'not msgpack'),
], ids=lambda value: str(value)[:20])
def test_an_invalid_message_is_an_error(message, problem):
    with pytest.raises(MsgpackError, match=problem):
        unpack(message)


@settings(max_examples=300, deadline=None)
@given(strategies.binary(max_size=200), strategies.binary(max_size=60))
def test_any_bytes_are_read_or_raise_the_declared_error(noise, suffix):
    for message in (noise, packed()[:-1] + suffix, packed()[:30] + noise):
        try:
            unpack(message)
        except MsgpackError:
            pass


@pytest.mark.parametrize('value', [np.array([None]), np.array([1j]), object(), {1, 2}])
def test_unsupported_types_are_not_packed(value):
    with pytest.raises(TypeError, match='cannot be written'):
        pack({'a': value})
