# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Where the page's files are."""

from pathlib import Path

#: Folder of the page: HTML, CSS and JavaScript, served as they are.
PAGE = Path(__file__).with_name('page')
