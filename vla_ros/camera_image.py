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
    _check_sizes(encoding, height, width, step, buffer.size)
    pixels = np.lib.stride_tricks.as_strided(
        buffer, (height, width, pixel_bytes), (step, pixel_bytes, 1), writeable=False)
    if encoding == 'mono8':
        return np.broadcast_to(pixels, (height, width, 3))
    if encoding in ('bgr8', 'bgra8'):
        return pixels[:, :, 2::-1]
    return pixels[:, :, :3]


def _check_sizes(encoding: str, height: int, width: int, step: int, size: int) -> None:
    described = f'{encoding} image of {width}x{height} pixels with a step of {step}'
    if height < 1 or width < 1:
        raise ImageError(f'{described}: it has no pixels')
    if step < width * PIXEL_BYTES[encoding]:
        raise ImageError(f'{described}: a row has {width * PIXEL_BYTES[encoding]} bytes')
    if size != step * height:
        raise ImageError(f'{described}: {step * height} bytes expected, got {size}')
