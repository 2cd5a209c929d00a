# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The core of the node, without ROS: from an image to a command."""
