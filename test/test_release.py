# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A release has one maintainer, tests every supported distribution, and has no backup files."""

from pathlib import Path
import re
import subprocess
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MANIFESTS = ('package.xml', 'msg/package.xml')


def test_the_maintainer_is_the_same_in_all_files():
    people = {(element.text, element.get('email')) for manifest in MANIFESTS
              for element in ElementTree.parse(ROOT / manifest).getroot().iter('maintainer')}
    (name, address), = people
    setup = (ROOT / 'setup.py').read_text()
    assert f"maintainer='{name}'" in setup and f"maintainer_email='{address}'" in setup
    assert f'`{address}`' in (ROOT / 'SECURITY.md').read_text()


def test_the_workflow_tests_every_supported_distribution():
    workflow = yaml.safe_load((ROOT / '.github/workflows/test.yml').read_text())
    events = workflow[True]  # how YAML 1.1 reads "on"
    assert 'pull_request' in events and events['push'] == {'branches': ['main']}
    tested = workflow['jobs']['ros']['strategy']['matrix']['distro']
    supported = (ROOT / 'docs/quality.md').read_text().partition('## Supported distributions\n')[2]
    names = re.findall(r'([A-Z]\w+) \((?:Python )?3\.\d+\)', supported)
    assert [name.lower() for name in names] == tested == ['humble', 'jazzy', 'lyrical']
    assert {'3.10', '3.13'} == set(workflow['jobs']['plain']['strategy']['matrix']['python'])


def test_no_backup_file_is_tracked():
    done = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f'no git checkout: {done.stderr.strip()}')
    assert [name for name in done.stdout.splitlines()
            if name.endswith(('.orig', '.rej', '.bak', '.swp'))] == []
