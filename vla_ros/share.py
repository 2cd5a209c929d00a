# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Where the package's data files are: in the installation's share folder, or in the checkout."""

from pathlib import Path


def find_share() -> Path:
    """Find the folder that holds ``config/``."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / 'config').is_dir() and (checkout / 'package.xml').is_file():
        return checkout
    from ament_index_python.packages import get_package_share_directory  # only where installed
    return Path(get_package_share_directory('vla_ros'))
