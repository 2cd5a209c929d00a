# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The operator page of ``vla_panel``: an ASGI application and the page that it serves."""
