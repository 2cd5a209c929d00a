# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The command-line tools; none of them needs a running robot."""
