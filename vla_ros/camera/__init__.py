# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Image encodings, camera health and the shared-memory camera; no rclpy."""
