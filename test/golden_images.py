# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The images that the golden outputs were computed from: integer arithmetic, the same anywhere."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vla_ros.util.tiny_checkpoint import words

_CHANNELS = {'L': 1, 'RGB': 3, 'RGBA': 4}


def make_image(spec: Mapping[str, Any]) -> np.ndarray:
    """
    Draw an image.

    :param spec: ``kind``, ``width`` and ``height``; ``seed`` (0) and ``mode`` (RGB) if given.
    :returns: uint8 (H, W, C), for mode L (H, W).
    """
    width, height, seed = spec['width'], spec['height'], spec.get('seed', 0)
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    draw = _KINDS[spec['kind']]
    planes = [np.asarray(draw(x, y, seed, channel)).astype(np.uint8)
              for channel in range(_CHANNELS[spec.get('mode', 'RGB')])]
    return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)


def _numbers(tag: str, count: int) -> list[int]:
    """Return ``count`` numbers below 2**20."""
    return [int(word) % (1 << 20) for word in words(tag).random_raw(count)]


def _gradient(x, y, seed, channel):
    k = _numbers(f'image|{seed}|{channel}', 16)
    across = x * (255 - k[0] % 128) // max(x.shape[1] - 1, 1)
    return (across + y * (k[1] % 256) // max(x.shape[0] - 1, 1)) % 256


def _checker(x, y, seed, channel):
    k = _numbers(f'image|{seed}|{channel}', 16)
    squares = 2 + k[2] % 7
    odd = (x * squares // x.shape[1] + y * squares // x.shape[0]) % 2
    return np.where(odd == 0, k[3] % 256, (k[3] + 96 + k[4] % 96) % 256)


def _noise(x, y, seed, channel):
    pixels = words(f'pixels|{seed}|{channel}').random_raw(x.size) % np.uint64(256)
    return pixels.reshape(x.shape)


def _blobs(x, y, seed, channel):
    height, width = x.shape
    plane = np.full(x.shape, 40 + _numbers(f'image|{seed}|{channel}', 16)[5] % 60)
    for j in range(4):
        k = _numbers(f'blob|{seed}|{j}', 6)
        centre_x, centre_y = k[0] % width, k[1] % height
        radius = 1 + min(width, height) // 8 + k[2] % (1 + min(width, height) // 4)
        inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 <= radius * radius
        plane = np.where(inside, (k[3] + 67 * channel * (j + 1)) % 256, plane)
    return (plane + (x * 3 + y * 5 + channel * 7) % 13) % 256


def _constant(x, y, seed, channel):
    return np.full(x.shape, _numbers(f'image|{seed}|{channel}', 16)[6] % 256)


_KINDS = {'gradient': _gradient, 'checker': _checker, 'noise': _noise, 'blobs': _blobs,
          'constant': _constant}
