# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The rclpy side of the node."""
