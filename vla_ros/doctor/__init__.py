# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a machine and a checkpoint lack, and what to do about it; works with anything missing."""
