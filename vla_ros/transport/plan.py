# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a plan for a transport consists of, and the names that make one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Union

from vla_ros.errors import ParameterError

TRANSPORTS = ('fastrtps', 'cyclonedds', 'iceoryx')
#: Start RouDi unless one is running, always start it, or expect it to be running.
ROUDI_MODES = ('auto', 'start', 'running')
#: What ``vla_transport --run`` prints once nodes can be started.
READY = 'transport ready'
#: The largest frame that the default plan has room for.
DEFAULT_FRAME = '3840x2160'
#: The RMW implementations that a transport can use, the one to choose first.
MIDDLEWARE = {'fastrtps': ('rmw_fastrtps_cpp', 'rmw_fastrtps_dynamic_cpp'),
              'cyclonedds': ('rmw_cyclonedds_cpp',),
              'iceoryx': ('rmw_cyclonedds_cpp',)}

MIB = 2 ** 20


@dataclass(frozen=True)
class Distribution:
    """
    What differs between ROS 2 distributions here.

    :param profile_variable: names the XML profile of Fast DDS.
    :param cyclone: major version of CycloneDDS; from 11 on iceoryx is a plug-in.
    """

    name: str
    profile_variable: str
    cyclone: int


OLD_PROFILE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
NEW_PROFILE = 'FASTDDS_DEFAULT_PROFILES_FILE'
DISTRIBUTIONS = {one.name: one for one in (
    Distribution('humble', OLD_PROFILE, 0), Distribution('jazzy', OLD_PROFILE, 0),
    Distribution('kilted', NEW_PROFILE, 0), Distribution('lyrical', NEW_PROFILE, 11),
    Distribution('rolling', NEW_PROFILE, 11))}
#: Of the Python packages that rclpy comes in where no distribution is installed.
DEFAULT_DISTRIBUTION = 'kilted'


@dataclass(frozen=True)
class FrameSize:
    """The largest frame that is expected, in pixels and bytes per pixel."""

    width: int
    height: int
    pixel_bytes: int = 3

    @classmethod
    def parse(cls, text: str) -> 'FrameSize':
        """
        Read ``WIDTHxHEIGHT`` or ``WIDTHxHEIGHTxBYTES``.

        :raises ParameterError: it is neither.
        """
        if not re.fullmatch(r'[1-9]\d{0,4}x[1-9]\d{0,4}(x[1-8])?', text):
            raise ParameterError('frame', text, 'WIDTHxHEIGHT in pixels, as in 1920x1080, or '
                                 'WIDTHxHEIGHTxBYTES with the bytes of a pixel (3 if not given)')
        return cls(*map(int, text.split('x')))

    @property
    def size(self) -> int:
        """Bytes of the pixels."""
        return self.width * self.height * self.pixel_bytes

    def __str__(self) -> str:
        tail = '' if self.pixel_bytes == 3 else f'x{self.pixel_bytes}'
        return f'{self.width}x{self.height}{tail}'


@dataclass(frozen=True)
class File:
    """A file to write before anything starts."""

    path: Path
    text: str


@dataclass(frozen=True)
class Process:
    """
    A process to start, RouDi.

    :param ready: what it prints once it serves.
    :param lock: the file that it keeps locked, so that there is one on a machine.
    :param memory: bytes of /dev/shm that it takes.
    :param package: what to install where it is missing.
    :param mode: one of :data:`ROUDI_MODES`.
    """

    command: tuple[str, ...]
    ready: str
    lock: Path
    memory: int
    package: str
    mode: str


@dataclass(frozen=True)
class MiddlewareCheck:
    """The RMW that rclpy will use under the plan's variables must be the planned one."""

    allowed: tuple[str, ...]
    package: str


@dataclass(frozen=True)
class SharedMemoryCheck:
    """/dev/shm should have room for this many bytes, or Fast DDS goes over to UDP."""

    needed: int
    user: str


@dataclass(frozen=True)
class ReceiveBufferCheck:
    """The kernel should grant sockets buffers of this many bytes, or large frames get lost."""

    needed: int
    frame: FrameSize


@dataclass(frozen=True)
class ProfileCheck:
    """The user's Fast DDS profile should have a segment of this many bytes."""

    path: Path
    segment: int


@dataclass(frozen=True)
class ConfigurationCheck:
    """The user's CycloneDDS configuration file must turn shared memory on."""

    path: Path
    element: str


Check = Union[MiddlewareCheck, SharedMemoryCheck, ReceiveBufferCheck, ProfileCheck,
              ConfigurationCheck]


@dataclass(frozen=True)
class LoopBack:
    """An image of this many bytes must arrive in another process, over shared memory."""

    size: int
    hint: str


@dataclass(frozen=True)
class Plan:
    """
    What has to be done for a transport, in this order.

    :param environment: variables to set; none that the user has set.
    :param checks: to be made before anything starts.
    :param loop_back: to be made last, with everything running.
    """

    distribution: str
    transport: str
    frame: FrameSize
    environment: Mapping[str, str]
    files: tuple[File, ...] = ()
    checks: tuple[Check, ...] = ()
    processes: tuple[Process, ...] = ()
    loop_back: LoopBack | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """The part of a plan that only one transport has."""

    environment: dict[str, str]
    files: tuple[File, ...] = ()
    checks: tuple[Check, ...] = ()
    processes: tuple[Process, ...] = ()
    loop_back: LoopBack | None = None
    warnings: tuple[str, ...] = ()
