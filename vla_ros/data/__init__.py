# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Actions, datasets, prompts and image preprocessing; numpy only."""
