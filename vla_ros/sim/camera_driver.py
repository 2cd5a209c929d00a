# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The simulated camera as a camera driver would be: images and their calibration."""

from array import array

from builtin_interfaces.msg import Time
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image

from vla_ros.ros.qos import NEWEST


class CameraDriver:
    """Publishes ``/camera/image_raw`` and ``/camera/camera_info``."""

    def __init__(self, node: Node, size: int, matrix: np.ndarray, frame_id: str) -> None:
        """
        Prepare the messages.

        :param size: side of the square images, pixels.
        :param matrix: intrinsic matrix, float64 (3, 3), pixels.
        """
        self._image = Image(height=size, width=size, encoding='rgb8', is_bigendian=0,
                            step=3 * size, data=array('B', bytes(3 * size * size)))
        # One message, filled in place: assigning ``data`` would copy each image once more.
        self._pixels = np.frombuffer(self._image.data, np.uint8).reshape(size, size, 3)
        self._info = CameraInfo(
            height=size, width=size, distortion_model='plumb_bob', d=[0.0] * 5,
            k=matrix.ravel().tolist(), r=np.eye(3).ravel().tolist(),
            p=np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist())
        for message in (self._image, self._info):
            message.header.frame_id = frame_id
        self._images = node.create_publisher(Image, 'camera/image_raw', NEWEST)
        self._infos = node.create_publisher(CameraInfo, 'camera/camera_info', 10)

    def publish(self, pixels: np.ndarray, stamp: Time) -> None:
        """Publish an image, uint8 (size, size, 3) RGB."""
        self._pixels[:] = pixels
        self._image.header.stamp = self._info.header.stamp = stamp
        self._images.publish(self._image)
        self._infos.publish(self._info)
