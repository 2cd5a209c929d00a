# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What several rooms use and none of them owns."""
