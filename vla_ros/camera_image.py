# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From the fields of an image message to an array, without a copy."""

import numpy as np

from vla_ros.errors import ImageError

#: Bytes of a pixel, for the encodings that are read here. All have one byte for a channel, so
#: ``is_bigendian`` says nothing about them.
PIXEL_BYTES = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}


def to_rgb(encoding: str, height: int, width: int, step: int, data: object) -> np.ndarray:
    """
    See the pixels of an image message as RGB.

    :param encoding: one of :data:`PIXEL_BYTES`.
    :param step: bytes from one row to the next; rows may be padded.
    :param data: anything with the buffer protocol.
    :return: uint8 (height, width, 3), a view of ``data``: maybe with negative or zero strides,
        never to be written to.
    :raises ImageError: an encoding that is not read here, or sizes that contradict each other.
    """
    if encoding not in PIXEL_BYTES:
        raise ImageError(f'encoding {encoding!r}: read without cv_bridge are only '
                         f'{", ".join(PIXEL_BYTES)}')
    pixel_bytes = PIXEL_BYTES[encoding]
    buffer = np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)  # type: ignore
    problem = _find_problem(height, width, step, pixel_bytes, buffer.size)
    if problem:
        raise ImageError(f'{encoding} image of {width}x{height} pixels with a step of {step}: '
                         f'{problem}')
    rows = buffer.reshape(height, step)[:, :width * pixel_bytes]
    pixels = rows.reshape(height, width, pixel_bytes)
    pixels.flags.writeable = False
    if encoding == 'mono8':
        return np.broadcast_to(pixels, (height, width, 3))
    if encoding in ('bgr8', 'bgra8'):
        return pixels[:, :, 2::-1]
    return pixels[:, :, :3]


def _find_problem(height: int, width: int, step: int, pixel_bytes: int, size: int) -> str:
    if height < 1 or width < 1:
        return 'it has no pixels'
    if step < width * pixel_bytes:
        return f'a row has {width * pixel_bytes} bytes'
    if size != step * height:
        return f'{step * height} bytes expected, got {size}'
    return ''
