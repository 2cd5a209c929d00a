# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Number of cores that the CPU runtime uses."""

import os

import torch


def leave_a_core() -> None:
    """
    Leave one core to the camera, to ROS and to the system.

    PyTorch's threads synchronise at every operation: when one of them loses its core to another
    process, all of them wait. docs/log.md has the measurements; OMP_NUM_THREADS takes precedence.
    """
    if 'OMP_NUM_THREADS' in os.environ:
        return
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))
