# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Prints the versions that pip is to keep to beside a given numpy.

    python scripts/constraints.py            those of constraints.txt
    python scripts/constraints.py 1.24.2     beside the numpy 1.24.2 of a ROS 2 installation

cv_bridge and the message types of an installation were compiled for its numpy, and a newer one in
the environment would hide it. What does not work beside an old numpy is taken from the file in
constraints/ whose numpy is the next one that is not older.
"""

from pathlib import Path
import re
import sys

ROOT = Path(__file__).resolve().parents[1]


def constraints(numpy: str = '') -> list[str]:
    """Return the lines of a constraints file; empty: no numpy is there yet."""
    lines = _lines(ROOT / 'constraints.txt')
    if not numpy:
        return lines
    newest = sorted((_version(path.stem.removeprefix('numpy-')), path)
                    for path in (ROOT / 'constraints').glob('numpy-*.txt'))
    files = [path for version, path in newest if version >= _version(numpy)[:2]]
    own = _lines(files[0]) if files else []
    replaced = {_name(line) for line in own} | {'numpy'}
    return [*(line for line in lines if _name(line) not in replaced), *own, f'numpy=={numpy}']


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding='utf-8')
    return [line for line in text.split('\n') if line and not line.startswith('#')]


def _name(line: str) -> str:
    return re.split('[<=>;! ]', line, maxsplit=1)[0]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r'\d+', text))


if __name__ == '__main__':
    print('\n'.join(constraints(*sys.argv[1:2])))
