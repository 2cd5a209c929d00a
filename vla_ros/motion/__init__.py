# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From actions to joint positions in time: action spaces, kinematics, bounded motion."""
