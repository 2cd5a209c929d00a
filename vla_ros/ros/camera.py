# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Where the node's images come from, and what is wrong when none come."""

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
from typing import Any
from typing import Union

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vla_ros.camera.health import CameraState
from vla_ros.camera.health import diagnose
from vla_ros.camera.health import image_topic
from vla_ros.camera.iceoryx2 import FrameReceiver
from vla_ros.camera.iceoryx2 import SharedFrame
from vla_ros.camera.image_encodings import PIXEL_BYTES
from vla_ros.errors import ImageError
from vla_ros.ros import messages
from vla_ros.ros.message_receiver import MessageReceiver
from vla_ros.ros.motion_loop import LoopGroup
from vla_ros.ros.qos import NEWEST
from vla_ros.ros.qos_events import SubscriptionEventCallbacks
from vla_ros.ros.qos_events import UnsupportedEventTypeError

_TYPES = {'topic': Image, 'compressed': CompressedImage}
_TYPE_NAMES = {'topic': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}


@dataclass(frozen=True)
class SharedImage:
    """A frame in shared memory, with the fields of ``sensor_msgs/Image``; not to be written to."""

    header: Header
    encoding: str
    height: int
    width: int
    step: int
    data: np.ndarray
    is_bigendian: int = 0


class Camera:
    """The node's camera: hands images over as they come, and watches the connection."""

    def __init__(self, node: Node, source: str, take: Callable[[Any], None],
                 refuse: Callable[[str, Any], None],
                 ended: Callable[[BaseException], None]) -> None:
        """
        Connect.

        :param source: one of :data:`vla_ros.camera.health.IMAGE_SOURCES`.
        :param take: called with each image, from a thread of its own; must not wait.
        :param refuse: called with the topic and the event when a camera's QoS do not fit.
        :param ended: called with what has ended that thread.
        :raises UnsupportedError: iceoryx2 is asked for and missing.
        """
        self._node = node
        self._source = source
        self._take = take
        self._refuse = refuse
        self._ended = ended
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._has_camera = False
        self._mismatch = ''
        self._lost = 0
        self._vanished = 0
        self._receiver: Union[FrameReceiver, MessageReceiver] | None = None
        self._topic = node.resolve_topic_name(image_topic(source))
        if source == 'iceoryx2':
            self._receiver = FrameReceiver(self._topic, self._on_shared_frame, ended)
        else:
            self._receiver = self._subscribe(image_topic(source))

    def stop(self) -> None:
        """Stop receiving images."""
        if self._receiver is not None:
            self._receiver.stop()

    def read(self, image: Any) -> np.ndarray:
        """
        Return the pixels of an image, uint8 (H, W, 3) RGB, a view where its encoding allows.

        :raises ImageError: it cannot be read.
        """
        return (messages.compressed_rgb(image) if self._source == 'compressed' else
                messages.image_rgb(image))

    def view(self, image: Any) -> np.ndarray | None:
        """Return the same as a view; None where that takes a copy, or the image is damaged."""
        if self._source == 'compressed' or image.encoding not in PIXEL_BYTES:
            return None
        try:
            return messages.image_rgb(image)
        except ImageError:
            return None

    def problem(self) -> str:
        """Return why no image arrives; empty if images do, or may come any moment."""
        return diagnose(self.state())

    def state(self) -> CameraState:
        """Check the connection."""
        silence = time.monotonic() - self._last
        if self._source == 'iceoryx2':
            return CameraState(self._source, self._topic, silence=silence)
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        wanted = _TYPE_NAMES[self._source]
        cameras = tuple(sorted({f'{one.node_namespace.rstrip("/")}/{one.node_name}'
                                for one in publishers if one.topic_type == wanted}))
        others = tuple(sorted({one.topic_type for one in publishers} - {wanted}))
        if cameras and not self._has_camera:
            # It is given time to send something from now on.
            self._last, silence = time.monotonic(), 0.0
        self._has_camera = bool(cameras)
        with self._lock:
            return CameraState(self._source, self._topic, cameras, others, self._mismatch,
                               self._lost, silence, rclpy.get_rmw_implementation_identifier())

    def facts(self) -> list[tuple[str, object]]:
        """Return what was counted, for the diagnostics."""
        with self._lock:
            return [('source', self._source), ('topic', self._topic),
                    ('images lost by the middleware', self._lost),
                    ('cameras that vanished', self._vanished),
                    ('incompatible QoS', self._mismatch)]

    def _subscribe(self, topic: str) -> MessageReceiver:
        def subscribe(events: SubscriptionEventCallbacks) -> Subscription:
            return self._node.create_subscription(
                _TYPES[self._source], topic, lambda _: None, NEWEST, event_callbacks=events,
                callback_group=LoopGroup())
        try:
            subscription = subscribe(SubscriptionEventCallbacks(
                incompatible_qos=self._on_mismatch, message_lost=self._on_lost,
                liveliness=self._on_liveliness, use_default_callbacks=False))
        except UnsupportedEventTypeError:
            self._node.get_logger().warning('this middleware reports no QoS events')
            subscription = subscribe(SubscriptionEventCallbacks(use_default_callbacks=False))
        return MessageReceiver(self._node, subscription, self._on_image, self._ended)

    def _on_image(self, image: Any) -> None:
        self._last = time.monotonic()
        self._take(image)

    def _on_shared_frame(self, frame: SharedFrame) -> None:
        header = Header(stamp=messages.stamp(frame.stamp), frame_id=frame.frame_id)
        self._on_image(SharedImage(header, frame.encoding, frame.height, frame.width, frame.step,
                                   frame.data))

    def _on_mismatch(self, event: Any) -> None:
        with self._lock:
            self._mismatch = getattr(event.last_policy_kind, 'name', str(event.last_policy_kind))
        self._refuse(self._topic, event)

    def _on_lost(self, event: Any) -> None:
        with self._lock:
            self._lost = event.total_count
        self._node.get_logger().warning(
            f'the middleware lost {event.total_count_change} images on {self._topic}, '
            f'{event.total_count} so far', throttle_duration_sec=10.0)

    def _on_liveliness(self, event: Any) -> None:
        if event.alive_count_change < 0 or event.not_alive_count_change > 0:
            with self._lock:
                self._vanished += 1
            self._node.get_logger().warning(f'a camera on {self._topic} is gone, '
                                            f'{event.alive_count} left')
