# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Vision-Language-Action models on ROS 2 robots: from an image and an instruction to an action."""

__version__ = '0.1.0'
