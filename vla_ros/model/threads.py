# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""How many cores the CPU runtime takes."""

import os

import torch


def leave_a_core() -> None:
    """
    Leave one core to the camera, to ROS and to the system.

    PyTorch's threads wait for each other at every operation: as soon as one of them has lost its
    core to something else, all of them stand still. docs/log.md has the numbers; OMP_NUM_THREADS
    overrules this.
    """
    if 'OMP_NUM_THREADS' in os.environ:
        return
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))
