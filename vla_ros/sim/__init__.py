# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A simulated arm on a table with coloured blocks, its tasks, and who judges them."""
