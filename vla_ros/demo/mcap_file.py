# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""An MCAP file of ROS 2 messages as they came, with their definitions: Foxglove reads it as is."""

from collections.abc import Sequence
from pathlib import Path
import struct
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.serialization import serialize_message

from vla_ros.recording.message_definitions import definition
from vla_ros.recording.message_definitions import SEPARATOR


class McapFile:
    """Writes messages; a context manager."""

    def __init__(self, path: Path) -> None:
        """
        Open the file.

        :raises OSError: it cannot be written.
        """
        from mcap.writer import Writer  # only who records needs it
        self._writer = Writer(str(path))
        self._channels: dict[str, int] = {}
        self._count = 0
        self._writer.start(profile='ros2', library='vla_ros')

    def __enter__(self) -> 'McapFile':
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.finish()

    def write(self, topic: str, message: Any, moment: int) -> None:
        """Write a message; ``moment`` in nanoseconds."""
        if topic not in self._channels:
            package, name = type(message).__module__.split('.')[0], type(message).__name__
            self._register(topic, f'{package}/msg/{name}', definition(package, name))
        self._write(topic, serialize_message(message), moment)

    def write_transforms(self, topic: str, transforms: Sequence[TransformStamped],
                         moment: int) -> None:
        """Write a tf2_msgs/TFMessage, though its package may not be installed."""
        if topic not in self._channels:
            part = 'geometry_msgs/TransformStamped'
            self._register(topic, 'tf2_msgs/msg/TFMessage', SEPARATOR.join(
                [f'{part}[] transforms', f'MSG: {part}\n{definition(*part.split("/"))}']))
        self._write(topic, encode_transforms(transforms), moment)

    def _register(self, topic: str, kind: str, text: str) -> None:
        schema = self._writer.register_schema(kind, 'ros2msg', text.encode())
        self._channels[topic] = self._writer.register_channel(topic, 'cdr', schema)

    def _write(self, topic: str, content: bytes, moment: int) -> None:
        self._count += 1
        self._writer.add_message(self._channels[topic], log_time=moment, publish_time=moment,
                                 data=content, sequence=self._count)


def encode_transforms(transforms: Sequence[TransformStamped]) -> bytes:
    """Serialise a tf2_msgs/TFMessage: CDR, little-endian (OMG DDSI-RTPS 2.5, 10.2)."""
    content = bytearray(struct.pack('<I', len(transforms)))

    def align(size: int) -> None:
        content.extend(bytes(-len(content) % size))

    for found in transforms:
        align(4)
        content.extend(struct.pack('<iI', found.header.stamp.sec, found.header.stamp.nanosec))
        for frame in (found.header.frame_id, found.child_frame_id):
            text = frame.encode() + b'\0'
            align(4)
            content.extend(struct.pack('<I', len(text)) + text)
        align(8)
        place, turn = found.transform.translation, found.transform.rotation
        content.extend(struct.pack('<7d', place.x, place.y, place.z,
                                   turn.x, turn.y, turn.z, turn.w))
    return b'\0\1\0\0' + bytes(content)
