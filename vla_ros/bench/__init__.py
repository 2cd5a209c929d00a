# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Measures this package on the machine at hand, and what it is compared with."""

# Sets how the threads of the CPU wait, which has to happen before anything imports torch.
import vla_ros.model  # noqa: F401
