# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_demo_camera``: a camera driver whose camera looks at photographs."""

from array import array
from pathlib import Path
import sys

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image

from vla_ros.demo.photos import find_photos
from vla_ros.demo.photos import PhotoTour
from vla_ros.demo.photos import read_photo
from vla_ros.demo.signals import signals_noted
from vla_ros.errors import VlaError

_HEIGHT, _WIDTH = 480, 640


class PhotoCamera(Node):
    """Publishes a tour of photographs the way a camera driver publishes its images."""

    def __init__(self) -> None:
        super().__init__('demo_camera')
        # An empty list has no type, so the default is one empty name.
        names: list[str] = self.declare_parameter('photos', ['']).value
        rate: float = self.declare_parameter('rate_hz', 30.0).value
        frame_id: str = self.declare_parameter('frame_id', 'camera_color_optical_frame').value

        paths = [Path(name) for name in names if name] or find_photos()
        self._tour = PhotoTour([read_photo(path) for path in paths], _WIDTH, _HEIGHT)
        self._message = Image(height=_HEIGHT, width=_WIDTH, encoding='rgb8', is_bigendian=0,
                              step=3 * _WIDTH, data=array('B', bytes(3 * _WIDTH * _HEIGHT)))
        self._message.header.frame_id = frame_id
        # One message, filled in place: assigning ``data`` would copy each frame once more.
        self._pixels = np.frombuffer(self._message.data, np.uint8).reshape(_HEIGHT, _WIDTH, 3)
        # No distortion model and no focal length: by convention an uncalibrated camera.
        self._info = CameraInfo(header=self._message.header, height=_HEIGHT, width=_WIDTH)
        self._start = self.get_clock().now()

        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._images = self.create_publisher(Image, '/camera/image_raw', qos)
        self._infos = self.create_publisher(CameraInfo, '/camera/camera_info', 10)
        self.create_timer(1.0 / rate, self._on_timer)

    def _on_timer(self) -> None:
        """Take one frame."""
        now = self.get_clock().now()
        self._pixels[:] = self._tour.frame((now - self._start).nanoseconds * 1e-9)
        self._message.header.stamp = now.to_msg()
        self._images.publish(self._message)
        self._info.header.stamp = self._message.header.stamp
        self._infos.publish(self._info)


def main() -> int:
    """Run the camera until it is interrupted."""
    with signals_noted() as signals:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            camera = PhotoCamera()
        except VlaError as error:
            print(f'vla_demo_camera: {error}', file=sys.stderr)
            rclpy.try_shutdown()
            return 2
        while not signals:
            rclpy.spin_once(camera, timeout_sec=0.1)
        camera.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
