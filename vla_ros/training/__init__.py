# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Training of a small model of the OpenVLA class on the simulator's expert."""
