# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The simulated arm on the graph: ``vla_sim``, its clock and its camera driver."""
