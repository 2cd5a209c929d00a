# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The description of a robot and the limits of its joints."""
