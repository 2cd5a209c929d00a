# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Drivers of teleoperators' devices, as nodes: what they say is what any driver has to say."""
