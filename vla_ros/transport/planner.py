# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
From a transport's name to what has to be true before images arrive over it.

Nothing is read, written or started here: :func:`make_plan` depends on its arguments alone.
:mod:`vla_ros.transport.preflight` carries a plan out; launch files set its variables.
"""

from collections.abc import Mapping
from pathlib import Path

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.transport.cyclonedds import plan_cyclonedds
from vla_ros.transport.fastrtps import plan_fastrtps
from vla_ros.transport.iceoryx import plan_iceoryx
from vla_ros.transport.plan import DISTRIBUTIONS
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import MIB
from vla_ros.transport.plan import MIDDLEWARE
from vla_ros.transport.plan import Plan
from vla_ros.transport.plan import ROUDI_MODES
from vla_ros.transport.plan import TRANSPORTS

# glibc caps the threshold at this; larger blocks are mapped, and faulted in, for each frame.
_LARGEST_THRESHOLD = 32 * MIB
_ALLOCATION = {'MALLOC_MMAP_THRESHOLD_': str(_LARGEST_THRESHOLD),
               'MALLOC_TRIM_THRESHOLD_': str(256 * MIB)}


def transport_in_use(environment: Mapping[str, str]) -> str:
    """
    Name the transport that an environment stands for.

    :returns: one of :data:`TRANSPORTS`; empty for a middleware that no plan is made for.
    """
    chosen = environment.get('RMW_IMPLEMENTATION') or MIDDLEWARE['fastrtps'][0]
    return next((name for name, allowed in MIDDLEWARE.items() if chosen in allowed), '')


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
        part = plan_fastrtps(distro, environment, frame, folder)
    elif transport == 'cyclonedds':
        part = plan_cyclonedds(distro, environment, frame, folder)
    else:
        part = plan_iceoryx(distro, environment, frame, folder, roudi)
    wanted = {'RMW_IMPLEMENTATION': MIDDLEWARE[transport][0], **part.environment, **_ALLOCATION}
    return Plan(
        distribution, transport, frame,
        environment={name: value for name, value in wanted.items() if not environment.get(name)},
        files=part.files,
        checks=part.checks,
        processes=part.processes, loop_back=part.loop_back,
        warnings=(*part.warnings, *_allocation_warnings(environment, frame)))


def _refuse_other_middleware(transport: str, environment: Mapping[str, str]) -> None:
    chosen = environment.get('RMW_IMPLEMENTATION', '')
    if chosen and chosen not in MIDDLEWARE[transport]:
        other = next((f', or use transport:={name}' for name, rmw in MIDDLEWARE.items()
                      if chosen in rmw), '')
        raise UnsupportedError(f'transport {transport}',
                               f'it needs RMW_IMPLEMENTATION={MIDDLEWARE[transport][0]}, but your '
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
