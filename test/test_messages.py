# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Conversion of image messages, with and without cv_bridge."""

import math
import sys
from types import ModuleType
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from sensor_msgs.msg import Image  # noqa: E402, I100
from vla_ros.errors import ImageError  # noqa: E402
from vla_ros.ros.messages import age  # noqa: E402
from vla_ros.ros.messages import image_rgb  # noqa: E402


def yuv_image():
    """Return an image in an encoding that needs cv_bridge."""
    image = Image(encoding='yuv422', height=2, width=2, step=4)
    image.data.frombytes(bytes(8))
    return image


def install_cv_bridge(monkeypatch, convert):
    """Replace cv_bridge, with the module by which the real one is recognised."""
    modules = {name: ModuleType(name) for name in (
        'cv_bridge', 'cv_bridge.boost', 'cv_bridge.boost.cv_bridge_boost')}
    modules['cv_bridge'].CvBridge = lambda: SimpleNamespace(imgmsg_to_cv2=convert)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_a_view_shares_the_memory_of_the_message():
    image = Image(encoding='bgr8', height=1, width=1, step=3)
    image.data.frombytes(bytes([1, 2, 3]))
    pixels = image_rgb(image)
    assert pixels.tolist() == [[[3, 2, 1]]]
    assert np.shares_memory(pixels, np.frombuffer(image.data, np.uint8))


def test_other_encodings_without_cv_bridge_are_an_error_with_the_package_to_install(monkeypatch):
    """The package cv_bridge of PyPI is not the real one."""
    monkeypatch.setitem(sys.modules, 'cv_bridge', ModuleType('cv_bridge'))
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    with pytest.raises(ImageError, match=r"'yuv422'.*ros-\$ROS_DISTRO-cv-bridge"):
        image_rgb(yuv_image())
    monkeypatch.setenv('ROS_DISTRO', 'lyrical')
    with pytest.raises(ImageError, match="'yuv422'.*sudo apt install ros-lyrical-cv-bridge"):
        image_rgb(yuv_image())
    with pytest.raises(ImageError, match="'h264' is read neither here nor by cv_bridge: let the"):
        image_rgb(Image(encoding='h264', height=2, width=2, step=4))


def test_cv_bridge_converts_other_encodings_to_rgb(monkeypatch):
    converted = np.full((2, 2, 3), 7, np.uint8)
    requests = []
    install_cv_bridge(monkeypatch, lambda *request: (requests.append(request), converted)[1])
    image = yuv_image()
    assert image_rgb(image) is converted
    assert requests == [(image, 'rgb8')]


def test_every_error_of_cv_bridge_is_an_image_error(monkeypatch):
    """It raises errors of its own and those of OpenCV."""
    def convert(*request):
        raise TypeError('buffer is too small')

    install_cv_bridge(monkeypatch, convert)
    with pytest.raises(ImageError, match='yuv422 image of 2x2 pixels.*buffer is too small'):
        image_rgb(yuv_image())


def test_an_image_without_a_stamp_has_no_age():
    """A camera may leave its stamps at zero."""
    image = Image()
    result = SimpleNamespace(frame=SimpleNamespace(image=image))
    assert math.isnan(age(result, 10 ** 18))
    image.header.stamp.sec = 1
    assert age(result, 3 * 10 ** 9) == 2.0
