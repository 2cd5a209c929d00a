# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The style rules of ament_flake8 and ament_pep257, which setup.cfg holds."""

from importlib import metadata
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = ('blind-except', 'builtins', 'class-newline', 'comprehensions', 'deprecated',
           'docstrings', 'import-order', 'quotes')


def test_flake8_finds_no_violation():
    for package in ('flake8', *(f'flake8-{plugin}' for plugin in PLUGINS)):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            pytest.skip(f'{package} is not installed: pip install -r requirements-test.txt')
    done = subprocess.run([sys.executable, '-m', 'flake8'], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
