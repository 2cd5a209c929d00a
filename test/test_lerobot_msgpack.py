# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Messages of LeRobot's remote inference: what is written is read, and nothing else is."""

import math

import numpy as np
import pytest

msgpack = pytest.importorskip('msgpack')

from vla_ros.data.lerobot_msgpack import decode_body  # noqa: E402, I100
from vla_ros.data.lerobot_msgpack import is_segment  # noqa: E402
from vla_ros.data.lerobot_msgpack import LeRobotMessage  # noqa: E402
from vla_ros.data.lerobot_msgpack import pack_message  # noqa: E402
from vla_ros.data.lerobot_msgpack import RgbImage  # noqa: E402
from vla_ros.data.lerobot_msgpack import unpack_message  # noqa: E402
from vla_ros.data.msgpack_numpy import MsgpackError  # noqa: E402

ENVELOPE = {'version': 1, 'message_type': 'action', 'instance_id': 'i', 'session_id': 's',
            'generation': 2, 'request_id': 'r', 'body': {}}
TENSOR = {'__lerobot_type__': 'tensor', 'dtype': 'float32', 'shape': [2], 'endianness': 'little',
          'data': np.array([1.0, 2.0], '<f4').tobytes()}


def content(**changes):
    return msgpack.packb({**ENVELOPE, **changes})


def test_a_message_is_written_as_the_text_says():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    state = np.arange(4, dtype='>f8')[::2]
    written = msgpack.unpackb(pack_message(LeRobotMessage(
        'observation', 'i', 's', 3, 'r', {'features': {
            'image': RgbImage(image.shape, image.tobytes()), 'state': state}, 'delay': 0})))
    assert {**written, 'body': 0} == {**ENVELOPE, 'message_type': 'observation', 'generation': 3,
                                      'body': 0}
    assert written['body']['features'] == {
        'image': {'__lerobot_type__': 'rgb', 'encoding': 'raw', 'shape': [2, 3, 3],
                  'dtype': 'uint8', 'channel_order': 'RGB', 'data': image.tobytes()},
        'state': {'__lerobot_type__': 'tensor', 'dtype': 'float64', 'shape': [2],
                  'endianness': 'little', 'data': np.array([0.0, 2.0], '<f8').tobytes()}}


@pytest.mark.parametrize('order', ['little', 'big'])
@pytest.mark.parametrize('dtype', ['bool', 'uint8', 'int64', 'float16', 'float32', 'float64'])
def test_an_array_is_read_in_either_order_of_bytes(dtype, order):
    array = np.array([[0, 1], [1, 0], [1, 1]], np.dtype(dtype).newbyteorder(
        '<' if order == 'little' else '>'))
    message = unpack_message(content(body={'x': [{**TENSOR, 'dtype': dtype, 'shape': [3, 2],
                                                  'endianness': order, 'data': array.tobytes()}]}))
    assert (message.kind, message.generation, message.request) == ('action', 2, 'r')
    read = decode_body(message)['x'][0]
    assert read.dtype.name == dtype and read.tolist() == array.tolist()


@pytest.mark.parametrize(('changes', 'problem'), [
    ({'version': 2}, 'version: got 2'), ({'version': True}, 'version: got True'),
    ({'version': 1.0}, 'version: got 1.0'), ({'message_type': 'shout'}, "got 'shout'"),
    ({'message_type': ['action']}, 'message_type'), ({'generation': -1}, 'generation: got -1'),
    ({'generation': True}, 'generation'), ({'generation': 2**63}, 'generation'),
    ({'instance_id': '*'}, "instance_id: got '[*]'"), ({'session_id': 'a/b'}, 'session_id'),
    ({'request_id': None}, 'request_id'), ({'request_id': 'r\n'}, 'request_id'),
    ({'request_id': 'x' * 129}, 'request_id')])
def test_an_envelope_of_another_form_is_refused(changes, problem):
    with pytest.raises(MsgpackError, match=problem):
        unpack_message(content(**changes))
    name, = changes
    with pytest.raises(MsgpackError):
        unpack_message(msgpack.packb({key: value for key, value in ENVELOPE.items()
                                      if key != name}))


@pytest.mark.parametrize('damaged', [
    b'', b'\xc1', b'\x91' * 10_000, msgpack.packb([1]), msgpack.packb(None),
    b'\xde\xff\xff', b'\xdd\xff\xff\xff\xff', b'\xc6\xff\xff\xff\xff',
    content(body=msgpack.ExtType(1, b'x')), content(body=[0] * 4097), content(body='x' * 16385),
    msgpack.packb({1: 2}),
    # A key twice: the second would hide what the first said.
    b'\x82\xa7version\x01\xa7version\x01'])
def test_what_is_no_message_is_refused(damaged):
    with pytest.raises(MsgpackError, match='message: '):
        unpack_message(damaged)


def deep(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(('body', 'problem'), [
    (None, 'body: got None'), ([], 'must be a map'), ({'x': math.nan}, 'not finite'),
    ({'x': deep(17)}, 'nested deeper'),
    *[({'x': {**TENSOR, **changes}}, problem) for changes, problem in (
        ({'__lerobot_type__': 'rgb'}, "array of 'rgb' is not read"),
        ({'__lerobot_type__': ['tensor']}, 'is not read'),
        ({'dtype': 'object'}, "tensor of 'object'"), ({'dtype': '<f4'}, 'only of numbers'),
        ({'dtype': ['float32']}, 'only of numbers'), ({'endianness': 'native'}, 'native'),
        ({'endianness': None}, 'only of numbers'), ({'shape': [3]}, '8 bytes are no array'),
        ({'shape': [-2]}, 'is no shape'), ({'shape': [True, 2]}, 'is no shape'),
        ({'shape': [99999999999]}, '8 bytes are no array'), ({'shape': 2}, 'shape, a list'),
        ({'shape': [2] + [1] * 8}, 'are no array'), ({'data': 'xx'}, 'must have data, bytes'),
        ({'data': b''}, '0 bytes'))]])
def test_an_invalid_body_is_refused_once_it_is_decoded(body, problem):
    message = unpack_message(content(body=body))
    with pytest.raises(MsgpackError, match=problem):
        decode_body(message)


def test_a_name_becomes_part_of_a_key_only_without_slash_and_wildcard():
    for name in ('manipulation', 'omx-act', 'a.b_c', '0' * 128):
        assert is_segment(name)
    for name in ('', '*', 'a/b', '**', 'a b', '-a', 'a\n', '0' * 129, None, 3, 'ä'):
        assert not is_segment(name)
