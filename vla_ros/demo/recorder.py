# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Records all topics of the demo, for the report and for the MCAP file."""

from functools import partial
import io
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from PIL import Image as PilImage
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from vla_ros.demo.links import link_transforms
from vla_ros.demo.mcap_file import McapFile
from vla_ros.demo.record import InferenceResult
from vla_ros.demo.record import Record
from vla_ros.ros.messages import nanoseconds
from vla_ros.ros.messages import VlaAction
from vla_ros.ros.messages import VlaStatus
from vla_ros.ros.qos import LATCHED
from vla_ros.worlds.robot import Robot

# Deeper than those of the node: a record is to lack nothing.
_NEWEST = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
_RELIABLE = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
COMPRESSED = '/camera/image_raw/compressed'
#: Nanoseconds between two images that are kept.
_IMAGE_PERIOD = 100_000_000


class Recorder:
    """Records from now on: messages as they came, images thinned out, and transforms of links."""

    def __init__(self, node: Node, file: McapFile) -> None:
        """Subscribe."""
        self.record = Record()
        #: The newest values of the inference node in /diagnostics.
        self.diagnostics: dict[str, str] = {}
        self._file = file
        self._now = 0
        self._next_image = 0
        self._robot: Robot | None = None
        self._joints = JointState()
        node.create_subscription(Image, '/camera/image_raw', self._on_image, _NEWEST)
        node.create_subscription(JointState, '/joint_states', self._on_joints, _NEWEST)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, _RELIABLE)
        node.create_subscription(String, '/robot_description', self._on_description, LATCHED)
        for kind, topic, qos in (
                (CameraInfo, '/camera/camera_info', _RELIABLE),
                (String, '/vla/instruction', _RELIABLE),
                (JointState, '/arm/joint_command', _RELIABLE),
                (VlaAction, '/vla/action', _RELIABLE),
                (VlaStatus, '/vla/status', LATCHED)):
            if kind is not None:
                node.create_subscription(kind, topic, partial(self._on_any, topic), qos)

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return 1e-9 * self._now

    def _on_any(self, topic: str, message: Any) -> None:
        self._file.write(topic, message, self._now)
        if topic == '/arm/joint_command':
            self.record.commands.append((self.now, tuple(message.position)))
        if topic == '/vla/action':
            self.record.results.append(InferenceResult(
                1e-9 * nanoseconds(message.published), message.age_published,
                message.instruction, tuple(message.token_ids),
                dict(zip(message.stage_names, message.stage_ms))))

    def _on_description(self, message: String) -> None:
        self._robot = Robot(message.data)
        self._file.write('/robot_description', message, self._now)

    def _on_joints(self, message: JointState) -> None:
        self._now = max(self._now, nanoseconds(message.header.stamp))
        self.record.names = tuple(message.name)
        self.record.joints.append((self.now, tuple(message.position)))
        self._joints = message
        self._file.write('/joint_states', message, self._now)

    def _on_image(self, message: Image) -> None:
        taken = nanoseconds(message.header.stamp)
        if taken < self._next_image:
            return
        self._next_image = taken + _IMAGE_PERIOD - 1
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        jpeg = io.BytesIO()
        PilImage.fromarray(pixels).save(jpeg, 'JPEG', quality=85)
        self.record.frames.append((1e-9 * taken, jpeg.getvalue()))
        self._file.write(COMPRESSED, CompressedImage(header=message.header, format='jpeg',
                                                     data=jpeg.getvalue()), self._now)
        if self._robot is not None:
            self._file.write_transforms('/tf', link_transforms(self._robot, self._joints),
                                        self._now)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._file.write('/diagnostics', message, self._now)
        for status in message.status:
            if status.name.endswith(': policy'):
                self.diagnostics = {'message': status.message,
                                    **{item.key: item.value for item in status.values}}
