# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
A camera as a process: 30 noisy images a second, and modes of failure.

It reads its mode from stdin, one a line: live, freeze (same pixels, fresh stamps), stuck
(same image with its stamp), silent, bgr8 or mono8 (another encoding).
"""

import sys
import threading

import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from sensor_msgs.msg import Image

_NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class Camera:
    """Publishes images in the last mode that was read."""

    def __init__(self) -> None:
        self.node = rclpy.create_node('fake_camera')
        self.mode = 'live'
        self.random = np.random.default_rng()
        self.image = self.take()
        self.publisher = self.node.create_publisher(Image, '/camera/image_raw', _NEWEST)
        self.node.create_timer(1 / 30, self.show)

    def take(self) -> Image:
        """Make a new image."""
        encoding = self.mode if self.mode in ('bgr8', 'mono8') else 'rgb8'
        channels = 1 if encoding == 'mono8' else 3
        image = Image(height=48, width=64, encoding=encoding, step=64 * channels)
        image.data.frombytes(self.random.integers(0, 255, 48 * 64 * channels, np.uint8).tobytes())
        image.header.frame_id = 'camera'
        image.header.stamp = self.node.get_clock().now().to_msg()
        return image

    def show(self) -> None:
        """Publish the next image."""
        if self.mode == 'silent':
            return
        if self.mode not in ('freeze', 'stuck'):
            self.image = self.take()
        if self.mode == 'freeze':
            self.image.header.stamp = self.node.get_clock().now().to_msg()
        self.publisher.publish(self.image)

    def read_modes(self) -> None:
        """Read modes until stdin ends."""
        for line in sys.stdin:
            self.mode = line.strip()


if __name__ == '__main__':
    rclpy.init()
    camera = Camera()
    threading.Thread(target=camera.read_modes, daemon=True).start()
    rclpy.spin(camera.node)
