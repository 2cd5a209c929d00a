# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The LIBERO benchmark; only :mod:`.world` imports it, under a Python of its own."""
