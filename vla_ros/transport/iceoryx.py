# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""iceoryx: CycloneDDS puts images into shared memory that a daemon, RouDi, hands out."""

from collections.abc import Mapping
from pathlib import Path

from vla_ros.errors import UnsupportedError
from vla_ros.transport.cyclonedds import uri_of
from vla_ros.transport.plan import ConfigurationCheck
from vla_ros.transport.plan import Distribution
from vla_ros.transport.plan import File
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import LoopBack
from vla_ros.transport.plan import MIB
from vla_ros.transport.plan import Part
from vla_ros.transport.plan import Process

# What RouDi takes for its own tables, whatever its pools [measured with 2.0.3: 65 991 416 bytes].
_ROUDI_TABLES = 64 * MIB
# Chunks for what is not an image, as (bytes, count).
_SMALL_POOLS = ((1024, 4000), (16 * 1024, 500), (128 * 1024, 200), (MIB, 30))
# Of frames: one being written, one in each of the queues, one in each reader's hands.
_FRAME_CHUNKS = 12
# What CDR adds to the pixels: the other fields, of which the strings have no bound.
_FRAME_MARGIN = 64 * 1024
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


def plan_iceoryx(distribution: Distribution, environment: Mapping[str, str], frame: FrameSize,
                 folder: Path, roudi: str) -> Part:
    """Plan it; see :func:`vla_ros.transport.planner.make_plan`."""
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
    if own in ('', uri_of(configuration)):
        return Part({'CYCLONEDDS_URI': uri_of(configuration)}, (configuration, pools),
                    (), (process,), loop_back)
    warning = 'your own CYCLONEDDS_URI is used, not the one of this plan'
    if own.lstrip().startswith('<'):
        refuse_without(element, own)
        return Part({}, (pools,), (), (process,), loop_back, (warning,))
    check = ConfigurationCheck(Path(own.removeprefix('file://')), element)
    return Part({}, (pools,), (check,), (process,), loop_back, (warning,))


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
