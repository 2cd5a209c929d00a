# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
From a transport's name to what has to be true before images arrive over it.

Nothing is read, written or started here: :func:`make_plan` depends on its arguments alone.
:mod:`vla_ros.transport.preflight` carries a plan out; launch files set its variables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Optional
from typing import Union

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError

TRANSPORTS = ('fastrtps', 'cyclonedds', 'iceoryx')
#: Start RouDi unless one is running, always start it, or expect it to be running.
ROUDI_MODES = ('auto', 'start', 'running')
#: The largest frame that the default plan has room for.
DEFAULT_FRAME = '3840x2160'

_MIB = 2 ** 20
# glibc caps the threshold at this; larger blocks are mapped, and faulted in, for each frame.
_LARGEST_THRESHOLD = 32 * _MIB
_ALLOCATION = {'MALLOC_MMAP_THRESHOLD_': str(_LARGEST_THRESHOLD),
               'MALLOC_TRIM_THRESHOLD_': str(256 * _MIB)}
_RMW = {'fastrtps': ('rmw_fastrtps_cpp', 'rmw_fastrtps_dynamic_cpp'),
        'cyclonedds': ('rmw_cyclonedds_cpp',),
        'iceoryx': ('rmw_cyclonedds_cpp',)}
# What RouDi takes for its own tables, whatever its pools [measured with 2.0.3: 65 991 416 bytes].
_ROUDI_TABLES = 64 * _MIB
# Chunks for what is not an image, as (bytes, count).
_SMALL_POOLS = ((1024, 4000), (16 * 1024, 500), (128 * 1024, 200), (_MIB, 30))
# Of frames: one being written, one in each of the queues, one in each reader's hands.
_FRAME_CHUNKS = 12
# What CDR adds to the pixels: the other fields, of which the strings have no bound.
_FRAME_MARGIN = 64 * 1024


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


_OLD_PROFILE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
_NEW_PROFILE = 'FASTDDS_DEFAULT_PROFILES_FILE'
DISTRIBUTIONS = {one.name: one for one in (
    Distribution('humble', _OLD_PROFILE, 0), Distribution('jazzy', _OLD_PROFILE, 0),
    Distribution('kilted', _NEW_PROFILE, 0), Distribution('lyrical', _NEW_PROFILE, 11),
    Distribution('rolling', _NEW_PROFILE, 11))}
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
    loop_back: Optional[LoopBack] = None
    warnings: tuple[str, ...] = ()


def transport_in_use(environment: Mapping[str, str]) -> str:
    """
    Name the transport that an environment stands for.

    :return: one of :data:`TRANSPORTS`; empty for a middleware that no plan is made for.
    """
    chosen = environment.get('RMW_IMPLEMENTATION') or _RMW['fastrtps'][0]
    return next((name for name, allowed in _RMW.items() if chosen in allowed), '')


@dataclass(frozen=True)
class _Part:
    """The part of a plan that only one transport has."""

    environment: dict[str, str]
    files: tuple[File, ...] = ()
    checks: tuple[Check, ...] = ()
    processes: tuple[Process, ...] = ()
    loop_back: Optional[LoopBack] = None
    warnings: tuple[str, ...] = ()


def make_plan(distribution: str, transport: str, environment: Mapping[str, str],
              frame: FrameSize, roudi: str = 'auto') -> Plan:
    """
    Plan a transport.

    :param distribution: one of :data:`DISTRIBUTIONS`.
    :param transport: one of :data:`TRANSPORTS`.
    :param environment: the user's; a variable that is set there stays as it is.
    :param frame: the largest that is expected on any image topic of the machine.
    :param roudi: one of :data:`ROUDI_MODES`; matters to iceoryx alone.
    :raises ParameterError: a name is not one of those.
    :raises UnsupportedError: what the user has set and the transport exclude each other.
    """
    for name, value, allowed in (('distribution', distribution, tuple(DISTRIBUTIONS)),
                                 ('transport', transport, TRANSPORTS),
                                 ('roudi', roudi, ROUDI_MODES)):
        if value not in allowed:
            raise ParameterError(name, value, f'one of {", ".join(allowed)}')
    _refuse_other_middleware(transport, environment)
    distro = DISTRIBUTIONS[distribution]
    folder = _folder(environment)
    if transport == 'fastrtps':
        part = _plan_fastrtps(distro, environment, frame, folder)
    elif transport == 'cyclonedds':
        part = _plan_cyclonedds(distro, environment, frame, folder)
    else:
        part = _plan_iceoryx(distro, environment, frame, folder, roudi)
    wanted = {'RMW_IMPLEMENTATION': _RMW[transport][0], **part.environment, **_ALLOCATION}
    return Plan(
        distribution, transport, frame,
        environment={name: value for name, value in wanted.items() if not environment.get(name)},
        files=part.files,
        checks=part.checks,
        processes=part.processes, loop_back=part.loop_back,
        warnings=(*part.warnings, *_allocation_warnings(environment, frame)))


def _refuse_other_middleware(transport: str, environment: Mapping[str, str]) -> None:
    chosen = environment.get('RMW_IMPLEMENTATION', '')
    if chosen and chosen not in _RMW[transport]:
        other = next((f', or use transport:={name}' for name, rmw in _RMW.items()
                      if chosen in rmw), '')
        raise UnsupportedError(f'transport {transport}',
                               f'it needs RMW_IMPLEMENTATION={_RMW[transport][0]}, but your '
                               f'environment sets {chosen}', f'unset RMW_IMPLEMENTATION{other}')


def _folder(environment: Mapping[str, str]) -> Path:
    home = environment.get('ROS_HOME') or str(Path(environment.get('HOME') or '/tmp') / '.ros')
    return Path(home) / 'vla_ros'


def _allocation_warnings(environment: Mapping[str, str], frame: FrameSize) -> list[str]:
    warnings = []
    if frame.size > _LARGEST_THRESHOLD:
        warnings.append(f'frames of {frame} have {frame.size} bytes; above {_LARGEST_THRESHOLD} '
                        'glibc maps fresh memory for each, which about doubles their age')
    if environment.get('GLIBC_TUNABLES', '').find('glibc.malloc.') >= 0:
        warnings.append('GLIBC_TUNABLES sets glibc.malloc.*, which may undo MALLOC_*_THRESHOLD_')
    return warnings


# Fast DDS: images go through a segment of shared memory that belongs to their publisher.

def segment_size(frame: FrameSize) -> int:
    """Give the bytes of a Fast DDS segment: two frames, as a power of two, and 16 MiB at least."""
    return max(16 * _MIB, 2 ** (2 * frame.size - 1).bit_length())


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


def _plan_fastrtps(distribution: Distribution, environment: Mapping[str, str], frame: FrameSize,
                   folder: Path) -> _Part:
    middleware = MiddlewareCheck(_RMW['fastrtps'], f'ros-{distribution.name}-rmw-fastrtps-cpp')
    warnings = []
    if environment.get('FASTDDS_BUILTIN_TRANSPORTS'):
        warnings.append('FASTDDS_BUILTIN_TRANSPORTS has no effect: the profile names its own '
                        'transports')
    if environment.get('RMW_FASTRTPS_USE_QOS_FROM_XML') == '1':
        warnings.append('RMW_FASTRTPS_USE_QOS_FROM_XML=1 changes the defaults of every topic: '
                        'unset it unless your profile was written for it')
    segment = segment_size(frame)
    variable, own = distribution.profile_variable, environment.get(distribution.profile_variable)
    if variable == _NEW_PROFILE:
        own = own or environment.get(_OLD_PROFILE)  # still read, with a deprecation warning
    elif environment.get(_NEW_PROFILE):
        warnings.append(f'{_NEW_PROFILE} has no effect on {distribution.name}, which reads '
                        f'{_OLD_PROFILE}')
    profile = File(folder / f'fastdds_{segment}.xml', fast_dds_profile(segment))
    if own and own != str(profile.path):
        return _Part({}, checks=(middleware, ProfileCheck(Path(own), segment)), warnings=(
            *warnings, f'your own Fast DDS profile {own} is used, not the one of this plan'))
    # A camera and a node: each participant has a segment.
    room = SharedMemoryCheck(2 * segment, 'the Fast DDS segments of a camera and a node')
    return _Part({variable: str(profile.path)}, (profile,), (middleware, room),
                 warnings=tuple(warnings))


# CycloneDDS: images go through sockets, in fragments, and wait in the receiver's socket buffer.

_CYCLONE_UDP = """<CycloneDDS xmlns="https://cdds.io/config">
  <Domain Id="any">
    <General><MaxMessageSize>65500B</MaxMessageSize></General>
    <!-- No min: CycloneDDS refuses to start where the kernel does not grant it. -->
    <Internal><SocketReceiveBufferSize max="64MB"/></Internal>
  </Domain>
</CycloneDDS>
"""


def _uri(configuration: File) -> str:
    # Not as_uri(): CycloneDDS takes percent signs literally.
    return f'file://{configuration.path}'


def _plan_cyclonedds(distribution: Distribution, environment: Mapping[str, str],
                     frame: FrameSize, folder: Path) -> _Part:
    package = f'ros-{distribution.name}-rmw-cyclonedds-cpp'
    checks = (MiddlewareCheck(_RMW['cyclonedds'], package),
              ReceiveBufferCheck(frame.size // 2, frame))
    configuration = File(folder / 'cyclonedds.xml', _CYCLONE_UDP)
    if environment.get('CYCLONEDDS_URI', '') not in ('', _uri(configuration)):
        return _Part({}, checks=checks, warnings=(
            'your own CYCLONEDDS_URI is used, not the one of this plan; images of more than '
            'about 1 MB need MaxMessageSize 65500B and a SocketReceiveBufferSize in it',))
    return _Part({'CYCLONEDDS_URI': _uri(configuration)}, (configuration,), checks)


# iceoryx: CycloneDDS serialises images into shared memory that a daemon, RouDi, hands out.

_CYCLONE_ICEORYX = """<CycloneDDS xmlns="https://cdds.io/config">
  <Domain Id="any">
    <SharedMemory><Enable>true</Enable><LogLevel>warn</LogLevel></SharedMemory>
  </Domain>
</CycloneDDS>
"""
_CYCLONE_PSMX = """<CycloneDDS xmlns="https://cdds.io/config">
  <Domain Id="any">
    <General>
      <Interfaces>
        <PubSubMessageExchange type="iox" library="psmx_iox" priority="1000000"
                               config="LOG_LEVEL=WARN;KEYED_TOPICS=true"/>
      </Interfaces>
    </General>
  </Domain>
</CycloneDDS>
"""


def roudi_configuration(frame: FrameSize) -> str:
    """Write a RouDi configuration whose largest chunks hold a frame."""
    lines = ['[general]', 'version = 1', '[[segment]]']
    for size, count in _pools(frame):
        lines += ['[[segment.mempool]]', f'size = {size}', f'count = {count}']
    return '\n'.join(lines) + '\n'


def _pools(frame: FrameSize) -> list[tuple[int, int]]:
    # Chunks must be multiples of 32, and each pool larger than the one before.
    size = -(-(frame.size + _FRAME_MARGIN) // 32) * 32
    pools = [pool for pool in _SMALL_POOLS if pool[0] < size]
    return [*pools, (size, _FRAME_CHUNKS)]


def _plan_iceoryx(distribution: Distribution, environment: Mapping[str, str], frame: FrameSize,
                  folder: Path, roudi: str) -> _Part:
    if distribution.cyclone < 11:
        element, text, name = 'SharedMemory', _CYCLONE_ICEORYX, 'cyclonedds_iceoryx.xml'
        hint = 'is this CycloneDDS built with iceoryx?'
    else:
        element, text, name = 'PubSubMessageExchange', _CYCLONE_PSMX, 'cyclonedds_psmx.xml'
        hint = ('rmw_cyclonedds may lack the fix of its issue 585, without which no message of '
                'variable size arrives over iceoryx')
    pools = File(folder / f'roudi_{frame}.toml', roudi_configuration(frame))
    memory = sum(size * count for size, count in _pools(frame)) + _ROUDI_TABLES
    process = Process(('iox-roudi', '-c', str(pools.path)), 'RouDi is ready for clients',
                      Path('/tmp/iox-unique-roudi.lock'), memory,
                      f'ros-{distribution.name}-iceoryx-posh', roudi)
    loop_back = LoopBack(frame.size, hint)
    own = environment.get('CYCLONEDDS_URI', '')
    configuration = File(folder / name, text)
    if own in ('', _uri(configuration)):
        return _Part({'CYCLONEDDS_URI': _uri(configuration)}, (configuration, pools),
                     (), (process,), loop_back)
    warning = 'your own CYCLONEDDS_URI is used, not the one of this plan'
    if own.lstrip().startswith('<'):
        refuse_without(element, own)
        return _Part({}, (pools,), (), (process,), loop_back, (warning,))
    check = ConfigurationCheck(Path(own.removeprefix('file://')), element)
    return _Part({}, (pools,), (check,), (process,), loop_back, (warning,))


def refuse_without(element: str, configuration: str) -> None:
    """
    Make sure that a CycloneDDS configuration has an element.

    :raises UnsupportedError: it does not.
    """
    if f'<{element}' not in configuration:
        raise UnsupportedError('transport iceoryx', 'your CYCLONEDDS_URI does not turn shared '
                               f'memory on, it has no <{element}>',
                               'unset CYCLONEDDS_URI, or add the element, or use '
                               'transport:=cyclonedds')
