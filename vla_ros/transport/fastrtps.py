# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Fast DDS: images go through a segment of shared memory that belongs to their publisher."""

from collections.abc import Mapping
from pathlib import Path

from vla_ros.transport.plan import Distribution
from vla_ros.transport.plan import File
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import MIB
from vla_ros.transport.plan import MIDDLEWARE
from vla_ros.transport.plan import MiddlewareCheck
from vla_ros.transport.plan import NEW_PROFILE
from vla_ros.transport.plan import OLD_PROFILE
from vla_ros.transport.plan import Part
from vla_ros.transport.plan import ProfileCheck
from vla_ros.transport.plan import SharedMemoryCheck


def segment_size(frame: FrameSize) -> int:
    """Return the bytes of a Fast DDS segment: two frames, as a power of two, at least 16 MiB."""
    return max(16 * MIB, 2 ** (2 * frame.size - 1).bit_length())


def fast_dds_profile(segment: int) -> str:
    """
    Write a Fast DDS profile.

    :param segment: bytes of shared memory of a participant.
    """
    # The old name space is read by every version, the new one only from 2.14 on.
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <profiles>
    <transport_descriptors>
      <transport_descriptor>
        <transport_id>vla_shm</transport_id>
        <type>SHM</type>
        <maxMessageSize>65500</maxMessageSize>
        <segment_size>{segment}</segment_size>
        <port_queue_capacity>{max(512, segment // 131072)}</port_queue_capacity>
      </transport_descriptor>
      <transport_descriptor>
        <transport_id>vla_udp</transport_id>
        <type>UDPv4</type>
      </transport_descriptor>
    </transport_descriptors>
    <participant profile_name="vla_participant" is_default_profile="true">
      <rtps>
        <useBuiltinTransports>false</useBuiltinTransports>
        <userTransports>
          <transport_id>vla_shm</transport_id>
          <transport_id>vla_udp</transport_id>
        </userTransports>
      </rtps>
    </participant>
  </profiles>
</dds>
"""


def plan_fastrtps(distribution: Distribution, environment: Mapping[str, str], frame: FrameSize,
                  folder: Path) -> Part:
    """Plan it; see :func:`vla_ros.transport.planner.make_plan`."""
    middleware = MiddlewareCheck(MIDDLEWARE['fastrtps'],
                                 f'ros-{distribution.name}-rmw-fastrtps-cpp')
    warnings = []
    if environment.get('FASTDDS_BUILTIN_TRANSPORTS'):
        warnings.append('FASTDDS_BUILTIN_TRANSPORTS has no effect: the profile names its own '
                        'transports')
    if environment.get('RMW_FASTRTPS_USE_QOS_FROM_XML') == '1':
        warnings.append('RMW_FASTRTPS_USE_QOS_FROM_XML=1 changes the defaults of every topic: '
                        'unset it unless your profile was written for it')
    segment = segment_size(frame)
    variable, own = distribution.profile_variable, environment.get(distribution.profile_variable)
    if variable == NEW_PROFILE:
        own = own or environment.get(OLD_PROFILE)  # still read, with a deprecation warning
    elif environment.get(NEW_PROFILE):
        warnings.append(f'{NEW_PROFILE} has no effect on {distribution.name}, which reads '
                        f'{OLD_PROFILE}')
    profile = File(folder / f'fastdds_{segment}.xml', fast_dds_profile(segment))
    if own and own != str(profile.path):
        return Part({}, checks=(middleware, ProfileCheck(Path(own), segment)), warnings=(
            *warnings, f'your own Fast DDS profile {own} is used, not the one of this plan'))
    # A camera and a node: each participant has a segment.
    room = SharedMemoryCheck(2 * segment, 'the Fast DDS segments of a camera and a node')
    return Part({variable: str(profile.path)}, (profile,), (middleware, room),
                warnings=tuple(warnings))
