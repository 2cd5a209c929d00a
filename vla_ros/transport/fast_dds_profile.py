# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The profile with which Fast DDS delivers images, and the variable that names it."""

from collections.abc import Mapping
from pathlib import Path

from vla_ros.util.share import find_share

#: The variable that Fast DDS reads, and its name up to Jazzy.
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')

_OLD_NAME_IN = ('humble', 'jazzy')


def profile_variable(environment: Mapping[str, str]) -> str:
    """Return the name of the variable in the distribution that the environment is set up for."""
    return PROFILE_VARIABLES[environment.get('ROS_DISTRO') in _OLD_NAME_IN]


def profile_in_use(environment: Mapping[str, str]) -> str:
    """Return the profile that an environment names, under either name; empty if none."""
    return next(filter(None, map(environment.get, PROFILE_VARIABLES)), '')


def profile_file() -> Path:
    """Return this package's profile."""
    return find_share() / 'config' / 'fastdds.xml'
