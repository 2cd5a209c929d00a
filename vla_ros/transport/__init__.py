# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a middleware needs so that images arrive: planned, checked, then applied."""
