# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The definitions of ROS messages, as a bag carries them."""

from pathlib import Path
import re

from ament_index_python.packages import get_package_share_directory

SEPARATOR = '\n' + 80 * '=' + '\n'
_FIELD = re.compile(r'^(?P<type>[\w/]+)(?:\[[^]]*\])?\s+\w+')
_PRIMITIVES = re.compile(r'(bool|byte|char|w?string|float(32|64)|u?int(8|16|32|64))$')


def definition(package: str, name: str) -> str:
    """
    Return the definition of a message and of all that it is made of.

    :raises LookupError: a package is not installed.
    """
    texts: dict[str, str] = {}
    waiting = [f'{package}/{name}']
    while waiting:
        found = waiting.pop(0)
        if found in texts:
            continue
        own_package, own_name = found.split('/')
        folder = Path(get_package_share_directory(own_package)) / 'msg'
        texts[found] = (folder / f'{own_name}.msg').read_text(encoding='utf-8')
        waiting += _parts(texts[found], own_package)
    first, *others = texts.items()
    return SEPARATOR.join([first[1], *(f'MSG: {part}\n{text}' for part, text in others)])


def _parts(text: str, package: str) -> list[str]:
    fields = (_FIELD.match(line) for line in text.split('\n'))
    kinds = [field['type'] for field in fields if field]
    return [kind if '/' in kind else f'{package}/{kind}' for kind in kinds
            if not _PRIMITIVES.match(kind)]
