# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A test module that lacks a dependency is skipped alone."""

import os
from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).parents[1]


def test_only_a_test_module_without_its_dependency_is_skipped(tmp_path):
    (tmp_path / 'torch.py').write_text("raise ModuleNotFoundError('out of reach')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get('PYTHONPATH')]))
    done = subprocess.run([sys.executable, '-m', 'pytest', '--collect-only', '-q',
                           'test/test_actions.py', 'test/test_attention.py'], cwd=ROOT,
                          env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'test_actions.py::' in done.stdout
    assert 'test_attention.py::' not in done.stdout
