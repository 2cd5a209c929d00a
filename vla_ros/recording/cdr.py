# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Reads the stamp and the pixels of a serialised message without decoding it.

Source of the encoding: OMG DDSI-RTPS 2.5, 10.2; the second byte gives the byte order.
"""

import struct

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
#: Types that begin with a std_msgs/Header, or with a stamp.
_STAMPED = {IMAGE, COMPRESSED, 'sensor_msgs/msg/JointState', 'vla_ros_msgs/msg/VlaAction',
            'vla_ros_msgs/msg/VlaStatus', 'rcl_interfaces/msg/Log',
            'geometry_msgs/msg/TwistStamped', 'diagnostic_msgs/msg/DiagnosticArray'}
#: Bytes of the encapsulation header; alignment counts from its end.
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


def pixels_of(kind: str, data: bytes) -> memoryview:
    """
    Find the pixels of an image message; return all bytes of a message of another type.

    Pixels are compared and not whole messages, since the padding between fields may differ in two
    equal messages.
    """
    order = '<I' if data[1] & 1 else '>I'

    def skip_string(offset: int) -> int:
        offset += -(offset - _HEAD) % 4
        return offset + 4 + struct.unpack_from(order, data, offset)[0]

    try:
        offset = skip_string(12)
        if kind == IMAGE:
            offset += -(offset - _HEAD) % 4 + 8
            offset = skip_string(offset) + 1
            offset += -(offset - _HEAD) % 4 + 4
        elif kind == COMPRESSED:
            offset = skip_string(offset)
        offset += -(offset - _HEAD) % 4
        length, = struct.unpack_from(order, data, offset)
        return memoryview(data)[offset + 4:offset + 4 + length]
    except (struct.error, IndexError):
        return memoryview(data)
