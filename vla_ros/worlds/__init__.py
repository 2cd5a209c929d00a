# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""An arm at a table with coloured blocks: physics, images, tasks, expert, success; no ROS."""
