# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The result of a check, for a terminal and as one HTML page that needs nothing else."""

import base64
from collections.abc import Iterator
from collections.abc import Sequence
from html import escape
import io
from pathlib import Path

import numpy as np
from PIL import Image

from vla_ros.recording.findings import ERROR
from vla_ros.recording.findings import Report

#: Longest side of an image, pixels; points of a curve; curves of a report.
_SIDE, _POINTS, _CURVES = 240, 400, 16
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; }
td:first-child, th:first-child { text-align: left; }
.error { color: #b00020; } .warning { color: #8a5a00; } .good { color: #1b6e3c; }
figure { display: inline-block; margin: .3em; } figcaption { font-size: 12px; color: #666; }
svg { border: 1px solid #ddd; background: #fafafa; }
"""


def lines_of(report: Report) -> list[str]:
    """Return a report as lines of text."""
    lines = [f'{report.name}: {summary(report)}']
    lines += [f'  {name}: {text}' for name, text in report.facts.items() if text.strip()]
    if report.streams:
        lines.append(f'  {"stream":<34}{"count":>8}{"Hz":>9}{"gap s":>8}{"equal":>7}'
                     f'{"frozen":>8}{"back":>6}')
        lines += [f'  {one.name[-33:]:<34}{one.count:>8}{one.rate:>9.2f}{one.longest_gap:>8.2f}'
                  f'{one.duplicates:>7}{one.frozen:>8}{one.backwards:>6}'
                  for one in report.streams]
    if report.dimensions:
        lines.append(f'  {"action":<24}{"min":>10}{"q01":>10}{"mean":>10}{"q99":>10}{"max":>10}'
                     f'{"std":>10}')
        lines += [f'  {one.name[:23]:<24}{one.minimum:>10.4f}{one.q01:>10.4f}{one.mean:>10.4f}'
                  f'{one.q99:>10.4f}{one.maximum:>10.4f}{one.deviation:>10.4f}'
                  for one in report.dimensions]
    lines += [f'  {one.level}: {one.name}: {one.text}' for one in report.findings]
    return lines


def summary(report: Report) -> str:
    """Summarise a report in a word or two."""
    errors = sum(finding.level == ERROR for finding in report.findings)
    if errors:
        return f'{errors} errors, {len(report.findings) - errors} warnings'
    return f'good, {len(report.findings)} warnings' if report.findings else 'good'


def write_page(path: Path, reports: Sequence[Report]) -> None:
    """
    Write reports as one page.

    :raises OSError: it cannot be written.
    """
    body = ''.join(part for report in reports for part in _sections(report))
    page = (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<title>vla_dataset check</title><style>{_STYLE}</style></head>'
            f'<body><h1>vla_dataset check</h1>{body}</body></html>\n')
    path.write_text(page, encoding='utf-8')


def _sections(report: Report) -> Iterator[str]:
    kind = 'error' if report.is_bad else 'warning' if report.findings else 'good'
    yield f'<h2>{escape(report.name)}: <span class="{kind}">{summary(report)}</span></h2>'
    if report.findings:
        yield '<ul>' + ''.join(
            f'<li class="{one.level}"><b>{escape(one.name)}</b>: {escape(one.text)}</li>'
            for one in report.findings) + '</ul>'
    yield _table(('', ''), [(name, text) for name, text in report.facts.items() if text.strip()])
    if report.images:
        yield ''.join(f'<figure><img src="{_jpeg(rgb)}" alt="">'
                      f'<figcaption>{escape(text)}</figcaption></figure>'
                      for text, rgb in report.images)
    if report.streams:
        yield _table(('stream', 'count', 'Hz', 'longest gap [s]', 'equal stamps', 'frozen',
                      'backwards'),
                     [(one.name, one.count, f'{one.rate:.2f}', f'{one.longest_gap:.3f}',
                       one.duplicates, one.frozen, one.backwards) for one in report.streams])
    if report.dimensions:
        yield _table(('action', 'min', 'q01', 'mean', 'q99', 'max', 'std'), [
            (one.name, *(f'{value:.4g}' for value in (
                one.minimum, one.q01, one.mean, one.q99, one.maximum, one.deviation)))
            for one in report.dimensions])
    for name, values in list(report.curves.items())[:_CURVES]:
        yield f'<figure>{_curve(values)}<figcaption>{escape(name)}</figcaption></figure>'


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ''
    first = ''.join(f'<th>{escape(name)}</th>' for name in head)
    others = ''.join('<tr>' + ''.join(f'<td>{escape(str(cell))}</td>' for cell in row) + '</tr>'
                     for row in rows)
    return f'<table><tr>{first}</tr>{others}</table>'


def _jpeg(rgb: np.ndarray) -> str:
    image = Image.fromarray(np.ascontiguousarray(rgb))
    image.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    image.save(stream, 'JPEG', quality=80)
    return f'data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}'


def _curve(values: np.ndarray) -> str:
    width, height = 300, 70
    shown = values[np.linspace(0, len(values) - 1, min(len(values), _POINTS)).astype(int)]
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    scale = (height - 8) / (high - low) if high > low else 0.0
    points = ' '.join(
        f'{width * index / max(1, len(shown) - 1):.1f},{height - 4 - scale * (value - low):.1f}'
        for index, value in enumerate(shown.tolist()) if np.isfinite(value))
    return (f'<svg width="{width}" height="{height}"><polyline fill="none" stroke="#26547c" '
            f'points="{points}"/><text x="4" y="12" font-size="10">{high:.3g}</text>'
            f'<text x="4" y="{height - 4}" font-size="10">{low:.3g}</text></svg>')
