# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The docstrings that ament_pep257 judges; its rules are in setup.cfg."""

from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]


def test_pep257():
    pytest.importorskip('pydocstyle')
    done = subprocess.run([sys.executable, '-m', 'pydocstyle', 'vla_ros', 'launch', 'test',
                           'setup.py'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
