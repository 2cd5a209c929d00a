# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Episodes as bags: recording them, reading them back, and datasets made of them."""
