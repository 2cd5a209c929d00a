# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Images from files."""

import io
from pathlib import Path

import numpy as np

from vla_ros.data.compressed_image import decode_image
from vla_ros.errors import ImageError
from vla_ros.util.files import FileError
from vla_ros.util.files import read_bytes

# An array of 8K RGB has 100 MB.
_MOST_BYTES = 512 * 2**20


def read_image(path: Path) -> np.ndarray:
    """
    Read an image file, or an array saved by numpy.

    :returns: uint8 (H, W, 3), RGB.
    :raises ImageError: the file is missing or holds no such image.
    """
    try:
        content = io.BytesIO(read_bytes(path, _MOST_BYTES))
    except FileError as error:
        raise ImageError(f'image {path}: {error.problem}') from None
    if path.suffix == '.npy':
        try:
            array = np.load(content, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ImageError(f'image {path}: {error}') from None
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            raise ImageError(f'image {path}: must be uint8 (height, width, 3), got {array.dtype} '
                             f'{array.shape}')
        return array
    return decode_image(content, f'image {path}')
