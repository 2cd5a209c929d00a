# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The policy contract, its configuration, its factory and its wrappers."""
