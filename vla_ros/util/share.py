# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Where the package's data files are: in the checkout, or in the installation's share folder."""

from pathlib import Path

from vla_ros.errors import VlaError


def find_share() -> Path:
    """
    Find the folder that holds ``config/``: of a source tree, of colcon's or of pip's installation.

    :raises VlaError: it is not there.
    """
    here = Path(__file__).resolve()
    places = (here.parents[2], *(parent / 'share' / 'vla_ros' for parent in here.parents))
    for place in places:
        if (place / 'config' / 'datasets.yaml').is_file():
            return place
    raise VlaError(f'the data files of vla_ros were not found from {here}: install it again')
