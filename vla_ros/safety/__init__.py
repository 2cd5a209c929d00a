# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What may move the arm: states and reasons, action limits, checks of frames, the black box."""
