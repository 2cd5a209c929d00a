# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Measures this package on the machine at hand, and what it is compared with."""
