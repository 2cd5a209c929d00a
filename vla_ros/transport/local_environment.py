# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The environment of the demo's processes: images arrive, and nothing leaves this machine."""

from collections.abc import Mapping

from vla_ros.transport.fast_dds_profile import profile_file
from vla_ros.transport.fast_dds_profile import profile_in_use
from vla_ros.transport.fast_dds_profile import profile_variable

#: Simulated seconds after which time waits for a result, on a machine that is too slow.
RESULT_WITHIN = 0.3


def demo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set for the demo; none that the user has set already."""
    # torch's threads wait for each other spinning. Where something else keeps the cores busy, as
    # camera and DDS do here, the policy then takes seconds instead of a tenth of one.
    wanted = {'OMP_WAIT_POLICY': 'PASSIVE'}
    if not profile_in_use(environment):
        wanted[profile_variable(environment)] = str(profile_file())
    missing = {name: value for name, value in wanted.items() if not environment.get(name)}
    return missing | _isolation(environment)


def _isolation(environment: Mapping[str, str]) -> dict[str, str]:
    """Keep the demo's commands, which mean nothing, from robots in the same network."""
    if environment.get('ROS_DISTRO') == 'humble':
        return {} if environment.get('ROS_LOCALHOST_ONLY') else {'ROS_LOCALHOST_ONLY': '1'}
    # A distribution's own setup file sets SUBNET: nobody has chosen that.
    chosen = environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE') not in (None, '', 'SUBNET')
    return {} if chosen else {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
