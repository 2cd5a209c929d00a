# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The main job on any machine: a camera, the real node, and a made-up checkpoint."""
