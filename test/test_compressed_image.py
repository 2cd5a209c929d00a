# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The error of a compressed image names the cause, with the same text for every image."""

import io

import numpy as np
from PIL import Image
import pytest
from vla_ros.camera.image_encodings import unsupported_reason
from vla_ros.cli.predict import read_image
from vla_ros.data.compressed_image import decode
from vla_ros.errors import ImageError

NOISE = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)


def encoded(image, name):
    stream = io.BytesIO()
    image.save(stream, name)
    return stream.getvalue()


def decode_error(kind, data):
    with pytest.raises(ImageError) as error:
        decode(kind, data)
    assert '0x' not in str(error.value) and '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('kind, data, message', [
    ('jpeg', b'', 'it is empty'),
    ('jpeg', b'no image', 'not an image that Pillow can read'),
    ('h264', b'\0\0\0\1x', 'a piece of a video'),
    ('bgr8; hevc compressed', b'\0\0\0\1x', 'a piece of a video'),
    ('16UC1; compressedDepth png', b'\0' * 12 + b'\x89PNG', 'a depth image'),
    ('png', encoded(Image.new('1', (4, 4)), 'PNG'), 'a PNG, but it has 1 bit a pixel'),
    ('png', encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), 'PNG'), '16 bits a pixel'),
    ('tiff', encoded(Image.new('F', (4, 4)), 'TIFF'), 'a TIFF, but it has 32 bits'),
    ('jpeg', encoded(Image.new('CMYK', (4, 4)), 'JPEG'),
     'a JPEG, but its colours are those of four')])
def test_the_reason_of_an_unreadable_image_is_named(kind, data, message):
    assert message in decode_error(kind, data)


@pytest.mark.parametrize('name', ['PNG', 'JPEG', 'WEBP', 'TIFF', 'GIF', 'BMP'])
def test_all_truncated_images_of_a_stream_give_the_same_error(name):
    whole = encoded(Image.fromarray(NOISE), name)
    errors = set()
    for end in range(len(whole) // 3, len(whole) // 2, 97):
        try:
            decode(name.lower(), whole[:end])
        except ImageError as error:
            errors.add(str(error))
    assert len(errors) <= 1 and all('0x' not in text for text in errors)


def test_damage_at_any_byte_of_the_header_raises_an_image_error():
    rng = np.random.default_rng(3)
    for name in ('PNG', 'JPEG', 'WEBP', 'TIFF', 'GIF', 'BMP'):
        for _ in range(100):
            broken = bytearray(encoded(Image.fromarray(NOISE), name))
            broken[int(rng.integers(0, 64))] = int(rng.integers(256))
            try:
                decode('x', bytes(broken))
            except ImageError as error:
                assert '0x' not in str(error)


@pytest.mark.parametrize('mode', ['LA', 'L', 'P', 'RGBA', 'RGB'])
def test_images_of_8_bits_are_decoded(mode):
    assert decode('png', encoded(Image.new(mode, (4, 3)), 'PNG')).shape == (3, 4, 3)


def test_predict_refuses_an_image_of_16_bits(tmp_path):
    Image.fromarray(np.full((4, 4), 300, np.uint16)).save(tmp_path / 'deep.png')
    with pytest.raises(ImageError, match='16 bits a pixel'):
        read_image(tmp_path / 'deep.png')


@pytest.mark.parametrize('encoding, message', [
    ('8UC3', 'the same image as rgb8 or bgr8'), ('8UC1', 'mono8'), ('16UC1', 'a depth image'),
    ('32FC1', 'a depth image'), ('16UC3', 'rgb8, bgr8'), ('8UC10', 'rgb8'), ('bayer_rggb8', ''),
    ('mono16', ''), ('yuv422_yuy2', '')])
def test_unsupported_encodings_are_refused_with_a_reason(encoding, message):
    reason = unsupported_reason(encoding)
    assert message in reason and bool(message) == bool(reason)
