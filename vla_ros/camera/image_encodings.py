# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From the fields of an image message to an array, without a copy."""

import os
import re

import numpy as np

from vla_ros.errors import ImageError

#: Bytes of a pixel, for the encodings that are read here. All have one byte for a channel, so
#: ``is_bigendian`` says nothing about them.
PIXEL_BYTES = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}


#: The encodings of sensor_msgs that cv_bridge converts to rgb8.
_CONVERTIBLE = re.compile(r'(rgb|bgr|rgba|bgra|mono)16|bayer_(rggb|bggr|gbrg|grbg)(8|16)|'
                          r'yuv422(_yuy2)?|uyvy|yuyv|nv21|nv24')

# OpenCV's names, which say how large a number is and how many make a pixel, but no colours.
_COLOURLESS = re.compile(r'(8U|8S|16U|16S|32S|32F|64F)C\d+')


def unsupported_reason(encoding: str) -> str:
    """Return why an encoding has no known colours; empty if it has."""
    if not _COLOURLESS.fullmatch(encoding):
        return ''
    if encoding in ('16UC1', '32FC1'):
        return (f'encoding {encoding!r} is that of a depth image: give the node the topic of the '
                'colour camera, -r camera/image_raw:=TOPIC')
    named = {'8UC1': 'mono8', '8UC3': 'rgb8 or bgr8', '8UC4': 'rgba8 or bgra8'}.get(
        encoding, ', '.join(PIXEL_BYTES))
    return (f'encoding {encoding!r} does not say what its channels are: the camera must publish '
            f'the same image as {named}')


def conversion_advice(encoding: str) -> str:
    """Return what to do where an encoding is not read here, and cv_bridge is not installed."""
    direct = f'let the camera publish {", ".join(PIXEL_BYTES)}'
    if not _CONVERTIBLE.fullmatch(encoding):
        return f'encoding {encoding!r} is read neither here nor by cv_bridge: {direct}'
    distribution = os.environ.get('ROS_DISTRO')
    install = (f'install cv_bridge: sudo apt install ros-{distribution}-cv-bridge' if distribution
               else 'use a ROS 2 installation with cv_bridge (ros-$ROS_DISTRO-cv-bridge)')
    return f'encoding {encoding!r} is read by cv_bridge only: {direct}, or {install}'


def to_rgb(encoding: str, height: int, width: int, step: int, data: object) -> np.ndarray:
    """
    See the pixels of an image message as RGB.

    :param encoding: one of :data:`PIXEL_BYTES`.
    :param step: bytes from one row to the next; rows may be padded.
    :param data: anything with the buffer protocol.
    :returns: uint8 (height, width, 3), a view of ``data``: maybe with negative or zero strides,
        never to be written to.
    :raises ImageError: an encoding that is not read here, or sizes that contradict each other.
    """
    if encoding not in PIXEL_BYTES:
        raise ImageError(f'encoding {encoding!r}: read here are {", ".join(PIXEL_BYTES)}')
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
