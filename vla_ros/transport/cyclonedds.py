# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""CycloneDDS: images go through sockets, in fragments, and wait in the receiver's buffer."""

from collections.abc import Mapping
from pathlib import Path

from vla_ros.transport.plan import Distribution
from vla_ros.transport.plan import File
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import MIDDLEWARE
from vla_ros.transport.plan import MiddlewareCheck
from vla_ros.transport.plan import Part
from vla_ros.transport.plan import ReceiveBufferCheck

_CYCLONE_UDP = """<CycloneDDS xmlns="https://cdds.io/config">
  <Domain Id="any">
    <General><MaxMessageSize>65500B</MaxMessageSize></General>
    <!-- No min: CycloneDDS refuses to start where the kernel does not grant it. -->
    <Internal><SocketReceiveBufferSize max="64MB"/></Internal>
  </Domain>
</CycloneDDS>
"""


def uri_of(configuration: File) -> str:
    """Return what CYCLONEDDS_URI is to be."""
    # Not as_uri(): CycloneDDS takes percent signs literally.
    return f'file://{configuration.path}'


def plan_cyclonedds(distribution: Distribution, environment: Mapping[str, str],
                    frame: FrameSize, folder: Path) -> Part:
    """Plan it; see :func:`vla_ros.transport.planner.make_plan`."""
    package = f'ros-{distribution.name}-rmw-cyclonedds-cpp'
    checks = (MiddlewareCheck(MIDDLEWARE['cyclonedds'], package),
              ReceiveBufferCheck(frame.size // 2, frame))
    configuration = File(folder / 'cyclonedds.xml', _CYCLONE_UDP)
    if environment.get('CYCLONEDDS_URI', '') not in ('', uri_of(configuration)):
        return Part({}, checks=checks, warnings=(
            'your own CYCLONEDDS_URI is used, not the one of this plan; images of more than '
            'about 1 MB need MaxMessageSize 65500B and a SocketReceiveBufferSize in it',))
    return Part({'CYCLONEDDS_URI': uri_of(configuration)}, (configuration,), checks)
