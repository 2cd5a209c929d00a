# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node's camera: compressed images, shared memory, and a camera that is silent."""

import io
import time

import numpy as np
from PIL import Image as Pillow
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from node_harness import NEWEST  # noqa: E402, I100
from node_harness import running_node  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from vla_ros.camera.iceoryx2 import Iceoryx2Camera  # noqa: E402
from vla_ros.data.compressed_image import decode as decode_bytes  # noqa: E402
from vla_ros.errors import ImageError  # noqa: E402


def compress(pixels, name):
    """Return a message with this image, in one of Pillow's formats."""
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, name)
    image = CompressedImage(format=name.lower(), data=stream.getvalue())
    image.header.stamp.sec, image.header.frame_id = 123, 'wrist'
    return image


def decode(image):
    return decode_bytes(image.format, image.data)


def test_a_png_is_decoded_exactly():
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(decode(compress(pixels, 'PNG')), pixels)


def test_a_grey_jpeg_is_decoded_as_rgb():
    pixels = decode(compress(np.full((8, 8), 90, np.uint8), 'JPEG'))
    assert pixels.shape == (8, 8, 3) and abs(int(pixels[0, 0, 2]) - 90) < 3


NOISE = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize('image', [
    CompressedImage(format='jpeg', data=b'no image'), CompressedImage(format='jpeg'),
    CompressedImage(format='png', data=bytes(compress(NOISE, 'PNG').data)[:6000]),
    compress(np.zeros((4, 4), np.uint16), 'PNG')])
def test_a_damaged_or_16_bit_compressed_image_is_an_error(image):
    with pytest.raises(ImageError, match='compressed image'):
        decode(image)


def test_the_node_infers_from_compressed_images():
    with running_node(image__source='compressed', instruction='go') as (node, observer):
        camera = observer.node.create_publisher(
            CompressedImage, '/camera/image_raw/compressed', NEWEST)
        observer.wait_for_match(camera, node)
        observer.wait_for_state('WAITING', node, 'no image on /camera/image_raw/compressed')
        camera.publish(CompressedImage(format='jpeg', data=b'broken'))
        observer.wait_for_state('HOLD', node, 'compressed image')
        camera.publish(compress(np.full((8, 8, 3), 77, np.uint8), 'PNG'))
        command = observer.wait(lambda: observer.commands and observer.commands[-1], 'a command',
                                node)
        assert list(command.position[:3]) == [77.0, 77.0, 77.0]
        assert (command.header.stamp.sec, command.header.frame_id) == (123, 'wrist')


def test_the_node_infers_from_frames_in_shared_memory(monkeypatch):
    pytest.importorskip('iceoryx2')
    with running_node(image__source='iceoryx2', instruction='go') as (node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        monkeypatch.setenv('ROS_DOMAIN_ID', str(observer.context.get_domain_id()))
        camera = Iceoryx2Camera('/camera/image_raw', 8 * 8 * 3)
        camera.publish(np.full((8, 8, 3), 55, np.uint8), 'bgr8', 'wrist', stamp=5_000_000_007)
        command = observer.wait(lambda: observer.commands and observer.commands[-1], 'a command',
                                node)
        assert list(command.position[:3]) == [55.0, 55.0, 55.0]
        stamp = command.header.stamp
        assert (stamp.sec, stamp.nanosec, command.header.frame_id) == (5, 7, 'wrist')


def test_a_silent_connected_camera_is_reported_within_seconds():
    with running_node(instruction='go') as (node, observer):
        observer.wait_for_match(observer.camera, node)
        start = time.monotonic()
        observer.wait_for_state('WAITING', node, '/observer is connected on /camera/image_raw, '
                                'but nothing arrives')
        # Five, and what a busy machine takes.
        assert time.monotonic() - start < 20.0


def test_a_camera_topic_of_another_type_is_reported_with_its_fix():
    with running_node(instruction='go', image__source='compressed') as (node, observer):
        observer.node.create_publisher(Image, '/camera/image_raw/compressed', NEWEST)
        observer.wait_for_state('WAITING', node, 'use image.source:=topic')
