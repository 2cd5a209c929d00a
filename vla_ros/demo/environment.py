# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The environment of the demo's processes: images arrive, and nothing leaves this machine."""

from collections.abc import Mapping
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from ament_index_python.packages import PackageNotFoundError

# Distributions whose Fast DDS knows its variable, and whose rcl knows discovery, by older names.
_OLD_FAST_DDS = ('humble', 'jazzy')
_OLD_DISCOVERY = ('humble',)


def demo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Add what the demo needs to an environment; what the user has set stays as it is.

    The demo's commands mean nothing, so they must not reach a robot in the same network.
    """
    distribution = environment.get('ROS_DISTRO', '')
    added = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    if distribution in _OLD_DISCOVERY:
        added = {'ROS_LOCALHOST_ONLY': '1'}
    prefix = 'FASTRTPS' if distribution in _OLD_FAST_DDS else 'FASTDDS'
    names = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
    if not any(environment.get(name) for name in names):
        added[f'{prefix}_DEFAULT_PROFILES_FILE'] = str(_share_folder() / 'config/fastdds.xml')
    return {**added, **environment}


def _share_folder() -> Path:
    try:
        return Path(get_package_share_directory('vla_ros'))
    except PackageNotFoundError:  # run from a source tree that was not built
        return Path(__file__).parents[2]
