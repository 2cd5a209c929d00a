# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Images are read exactly and without a copy, or refused with a reason."""

from array import array

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.camera.image_encodings import PIXEL_BYTES
from vla_ros.camera.image_encodings import to_rgb
from vla_ros.errors import ImageError

ORDER = {'rgb8': [0, 1, 2], 'bgr8': [2, 1, 0], 'rgba8': [0, 1, 2], 'bgra8': [2, 1, 0],
         'mono8': [0, 0, 0]}


@given(st.sampled_from(list(PIXEL_BYTES)), st.integers(1, 9), st.integers(1, 9),
       st.integers(0, 5), st.integers(0, 2 ** 32 - 1))
def test_pixels_of_every_encoding_equal_indexing_by_hand(encoding, height, width, padding, seed):
    pixel_bytes = PIXEL_BYTES[encoding]
    step = width * pixel_bytes + padding
    data = np.random.default_rng(seed).integers(0, 256, height * step).astype(np.uint8)
    image = to_rgb(encoding, height, width, step, array('B', data.tobytes()))
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    for row in range(height):
        for column in range(width):
            start = row * step + column * pixel_bytes
            assert image[row, column].tolist() == data[start:][ORDER[encoding]].tolist()


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', PIXEL_BYTES)
def test_the_array_is_a_read_only_view_of_the_message(encoding, padding):
    step = 2 * PIXEL_BYTES[encoding] + padding
    data = array('B', bytes(2 * step))
    image = to_rgb(encoding, 2, 2, step, data)
    data[0] = 77
    assert 77 in image[0, 0]
    with pytest.raises(ValueError, match='read-only'):
        image[0, 0, 0] = 1


@pytest.mark.parametrize('encoding, height, width, step, size, reason', [
    ('rgb8', 2, 2, 5, 10, 'a row has 6 bytes'),
    ('rgb8', 2, 2, 6, 11, '12 bytes expected, got 11'),
    ('rgb8', 2, 2, 6, 13, '12 bytes expected, got 13'),
    ('rgb8', 2, 2, 6, 0, '12 bytes expected, got 0'),
    ('rgb8', 0, 2, 6, 0, 'no pixels'),
    ('rgb8', 2, 0, 0, 0, 'no pixels'),
    ('mono8', 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1, 16, 'bytes expected, got 16'),
    ('bayer_rggb8', 2, 2, 2, 4, "encoding 'bayer_rggb8'"),
    ('', 2, 2, 2, 4, "encoding ''")])
def test_an_unreadable_image_is_refused_with_a_reason(encoding, height, width, step, size, reason):
    with pytest.raises(ImageError) as refused:
        to_rgb(encoding, height, width, step, bytes(size))
    assert reason in str(refused.value)
    assert encoding in str(refused.value)
