# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Measures this package on the machine at hand; what the numbers are compared with is here, too."""
