# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The operator page's images: the newest one of each camera as JPEG, at a limited rate."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import logging
import threading
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from vla_ros.data.compressed_image import encode_jpeg
from vla_ros.errors import ImageError
from vla_ros.ros import messages
from vla_ros.ros.camera import Camera
from vla_ros.ros.camera import image_topic
from vla_ros.ros.qos import NEWEST
from vla_ros.server.panel.robot import CameraImage

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamSettings:
    """
    Rate, size and quality of the images.

    :param rate: of each camera, Hz.
    :param width: pixels, at most.
    :param quality: of the JPEG, 1 to 95.
    """

    rate: float
    width: int
    quality: int


class ImageStreams:
    """
    Keeps the newest image of each camera; one thread encodes them while a page is open.

    Nothing is decoded or encoded while no page is open.
    """

    def __init__(self, node: Node, source: str, extra_topics: Sequence[str],
                 settings: StreamSettings) -> None:
        """
        Connect to the cameras as the inference node does.

        :param source: of the main camera, one of :data:`vla_ros.camera.health.IMAGE_SOURCES`.
        :param extra_topics: of the others.
        :raises UnsupportedError: iceoryx2 is asked for and missing.
        """
        self._node = node
        self._settings = settings
        self._changed = threading.Condition()
        self._show: Callable[[CameraImage], None] | None = None
        self._images: dict[str, tuple[Any, Callable[[Any], np.ndarray]]] = {}
        self._due: dict[str, float] = {}
        self._is_ending = False
        main = image_topic(source)
        self._camera = Camera(node, source, lambda image: self._take(main, image, self._read),
                              lambda topic, event: None, self._on_ended)
        for topic in extra_topics:
            node.create_subscription(
                Image, topic, lambda image, name=topic: self._take(
                    name, image, messages.image_rgb), NEWEST)
        self._thread = threading.Thread(target=self._run, name='vla_panel_images', daemon=True)
        self._thread.start()

    def stream(self, show: Callable[[CameraImage], None] | None) -> None:
        """Call ``show`` with each image from now on; None: no page is open."""
        with self._changed:
            self._show = show

    def problem(self) -> str:
        """Return why no image arrives; empty if images do, or may come any moment."""
        return self._camera.problem()

    def stop(self) -> None:
        """Stop receiving images; to be called before the node ends."""
        self._camera.stop()
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._thread.join()

    def _read(self, image: Any) -> np.ndarray:
        return self._camera.read(image)

    def _take(self, camera: str, image: Any, read: Callable[[Any], np.ndarray]) -> None:
        now = time.monotonic()
        with self._changed:
            if self._show is None or now < self._due.get(camera, 0.0):
                return
            # From when it was due, so that 30 Hz make 10 Hz and not 7.5.
            period = 1.0 / self._settings.rate
            self._due[camera] = max(self._due.get(camera, 0.0) + period, now)
            self._images[camera] = image, read
            self._changed.notify_all()

    def _on_ended(self, error: BaseException) -> None:
        _logger.error('no more images: the thread of the camera has ended: %s', error)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._images or self._is_ending)
                if self._is_ending:
                    return
                camera = next(iter(self._images))
                image, read = self._images.pop(camera)
                show = self._show
            if show is not None:
                self._make(camera, image, read, show)

    def _make(self, camera: str, image: Any, read: Callable[[Any], np.ndarray],
              show: Callable[[CameraImage], None]) -> None:
        stamp = messages.nanoseconds(image.header.stamp)
        try:
            jpeg, size = encode_jpeg(read(image), self._settings.width, self._settings.quality)
        except ImageError as error:
            _logger.error('no image of %s: %s', camera, error)
            return
        age = (self._node.get_clock().now().nanoseconds - stamp) / 1e9 if stamp else None
        show(CameraImage(camera, jpeg, {'width': size[0], 'height': size[1], 'age': age}))
