# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Every source file names its copyright holder and licence."""

from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ('.ci', '.github', 'config', 'launch', 'msg', 'scripts', 'test', 'vla_ros')
FILES = ('Dockerfile', 'colcon_defaults.yaml', 'package.xml', 'setup.cfg', 'setup.py')
#: Data carries no comments, and a marker file is empty.
EXEMPT = ('.json', '.npy', '.pyc', '.typed', '.png', '.jpg', '.safetensors')


def sources():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob('*')):
            if path.is_file() and path.suffix not in EXEMPT:
                yield path
    yield from (ROOT / name for name in FILES)


@pytest.mark.parametrize('path', sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_has_copyright_and_licence_lines(path):
    top = '\n'.join(path.read_text(encoding='utf-8').splitlines()[:6])
    assert re.search(r'Copyright 20\d\d The vla_ros Authors', top)
    assert 'SPDX-License-Identifier: Apache-2.0' in top
