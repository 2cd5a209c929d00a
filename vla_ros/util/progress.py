# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""How the loading of weights reports its progress."""

from collections.abc import Callable

#: Called while weights are loaded with the fraction done (0 to 1) and what is being done.
#: May raise :class:`vla_ros.errors.Cancelled` to stop the loading.
Progress = Callable[[float, str], None]


def ignore_progress(fraction: float, activity: str) -> None:
    """Ignore the progress."""
