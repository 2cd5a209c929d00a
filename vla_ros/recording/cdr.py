# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
What is read of a serialised message without decoding it: its stamp, and the bytes of its picture.

Source of the encoding: OMG DDSI-RTPS 2.5, 10.2; the second byte says the order of bytes.
"""

import struct

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
#: Types that begin with a std_msgs/Header, or with a stamp.
_STAMPED = {IMAGE, COMPRESSED, 'sensor_msgs/msg/JointState', 'vla_ros_msgs/msg/VlaAction',
            'vla_ros_msgs/msg/VlaStatus', 'rcl_interfaces/msg/Log',
            'geometry_msgs/msg/TwistStamped', 'diagnostic_msgs/msg/DiagnosticArray'}
#: Bytes in front of the content, by which alignment is counted.
_HEAD = 4


def stamp_of(kind: str, data: bytes) -> int:
    """
    Read the stamp of a serialised message, ns; 0 if it has none.

    :param kind: its type.
    """
    if kind not in _STAMPED or len(data) < 12:
        return 0
    seconds, nanosec = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, _HEAD)
    return seconds * 1_000_000_000 + nanosec


def picture_of(kind: str, data: bytes) -> memoryview:
    """
    Find the bytes of the picture in an image message; all of it if it is no such message.

    Between the fields lies padding, which is not the same in two equal messages.
    """
    order = '<I' if data[1] & 1 else '>I'

    def skip_string(place: int) -> int:
        place += -(place - _HEAD) % 4
        return place + 4 + struct.unpack_from(order, data, place)[0]

    try:
        place = skip_string(12)
        if kind == IMAGE:
            place += -(place - _HEAD) % 4 + 8
            place = skip_string(place) + 1
            place += -(place - _HEAD) % 4 + 4
        elif kind == COMPRESSED:
            place = skip_string(place)
        place += -(place - _HEAD) % 4
        length, = struct.unpack_from(order, data, place)
        return memoryview(data)[place + 4:place + 4 + length]
    except (struct.error, IndexError):
        return memoryview(data)
