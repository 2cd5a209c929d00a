# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The LIBERO benchmark as a robot on the graph, and policies that need its simulator."""
