# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Writes docs/api.md from the docstrings of the public Python modules.

    python scripts/api_page.py

It reads the sources without importing them, so that it needs nothing installed.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
import re
import textwrap

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'api.md'
#: Each public module, and its public names; None for all that have no underscore.
MODULES: dict[str, tuple[str, ...] | None] = {
    'vla_ros.policy.base': None,
    'vla_ros.policy.config': ('PolicyConfig',),
    'vla_ros.policy.load': ('load_policy',),
    'vla_ros.errors': None,
}
HEAD = """# The Python API

What a policy of your own implements and returns ([a worked example](own_policy.md)), how a
program loads one, and what it raises. [quality.md](quality.md#the-public-interface) says which of
it is stable.

<!-- Written by scripts/api_page.py from the docstrings: edit those, then run it. -->
"""
_FIELD = re.compile(r'^:(?P<kind>param|raises|returns?)\s*(?P<name>[^:]*):\s*', re.MULTILINE)
_ROLE = re.compile(r':\w+:`~?([^`]+)`')


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for module, names in MODULES.items():
        tree = ast.parse((ROOT / f'{module.replace(".", "/")}.py').read_text(encoding='utf-8'))
        parts += [f'## `{module}`\n', *_prose(ast.get_docstring(tree))]
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and (
                    node.name in names if names else not node.name.startswith('_')):
                parts += _entry(node)
    return '\n'.join(parts)


def _entry(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield f'### `{_signature(node)}`\n'
        yield from _prose(ast.get_docstring(node))
        return
    bases = ', '.join(ast.unparse(base) for base in node.bases)
    yield f'### class `{node.name}{f"({bases})" if bases else ""}`\n'
    yield from _prose(ast.get_docstring(node))
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)
              and isinstance(one.target, ast.Name) and not one.target.id.startswith('_')]
    if fields:
        yield '```python\n' + '\n'.join(ast.unparse(one) for one in fields) + '\n```\n'
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        if method.name == '__init__' or not method.name.startswith('_'):
            kind = 'property ' if any(ast.unparse(one) == 'property'
                                      for one in method.decorator_list) else ''
            yield f'#### {kind}`{_signature(method)}`\n'
            yield from _prose(ast.get_docstring(method))


def _signature(node: ast.FunctionDef) -> str:
    arguments = ast.unparse(node.args)
    arguments = re.sub(r'^self(, )?', '', arguments)
    returned = f' -> {ast.unparse(node.returns)}' if node.returns else ''
    return f'{node.name}({arguments}){returned}'


def _prose(docstring: str | None) -> Iterator[str]:
    """Return a docstring as Markdown: its sentences, then its fields as a list."""
    if docstring is None:
        return
    text = _ROLE.sub(r'`\1`', docstring).replace('``', '`')
    fields = list(_FIELD.finditer(text))
    sentences = text[:fields[0].start()] if fields else text
    if sentences.strip():
        yield sentences.strip() + '\n'
    ends = [one.start() for one in fields[1:]] + [len(text)]
    items = []
    for field, end in zip(fields, ends):
        words = ' '.join(text[field.end():end].split())
        label = {'param': f'`{field["name"]}`', 'raises': f'raises `{field["name"]}`'}.get(
            field['kind'], 'returns')
        items.append('\n'.join(textwrap.wrap(f'* {label}: {words}', 110, subsequent_indent='  ',
                                             break_long_words=False, break_on_hyphens=False)))
    if items:
        yield '\n'.join(items) + '\n'


if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
