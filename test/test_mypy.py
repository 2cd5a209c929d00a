# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The type hints are consistent; setup.cfg names the checked files."""

from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]


def test_mypy_finds_no_error():
    pytest.importorskip('mypy')
    done = subprocess.run([sys.executable, '-m', 'mypy'], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
