# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Vision-Language-Action models on ROS 2 robots: an image and a sentence in, an action out."""

__version__ = '0.1.0'
