# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What ``gpu_check`` writes: benchmarks.json, tables.md and stages.png."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

#: Of each measuring stage, the heading of its table.
_HEADINGS = {
    'machine': 'Machine', 'steps': 'Consecutive inferences', 'frame': 'Upload and preprocessing',
    'profile': 'Kernels of a decode step', 'oft': 'OpenVLA-OFT and vision batches',
    'fused': 'Fused kernels', 'products': 'Matrix products of one row, GB/s',
    'batch': 'Batches', 'compiled': 'Compiled layers'}


def write_report(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """
    Write what the stages gave so far.

    :param rows: of each stage ``stage``, ``status``, ``seconds``, and a ``reason`` or a
        ``result`` where there is one.
    """
    (folder / 'benchmarks.json').write_text(json.dumps(list(rows), indent=1), encoding='utf-8')
    lines = ['| stage | status | seconds | limit | reason |', '| --- | --- | --- | --- | --- |']
    lines += [f'| {row["stage"]} | {row["status"]} | {row["seconds"]} | {row["limit_s"]:g} | '
              f'{row.get("reason", "")} |' for row in rows]
    results = {row['stage']: row['result'] for row in rows if 'result' in row}
    for name, result in results.items():
        lines += ['', *(_model(result, folder) if name == 'model'
                        else _table(_HEADINGS.get(name, name), result))]
    (folder / 'tables.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')


def _model(result: Mapping[str, Any], folder: Path) -> list[str]:
    # Not at the top: the report of the other stages needs neither torch nor matplotlib.
    from vla_ros.bench.model_report import plot
    from vla_ros.bench.model_report import table
    lines = ['## Model', '', table(result), '', *_targets(result)]
    try:
        plot(result, folder / 'stages.png')
    except ImportError as error:
        lines += ['', f'No plot: {error.name} is not installed.']
    return lines


def _targets(result: Mapping[str, Any]) -> list[str]:
    """Compare the ratios with what the engine is built for."""
    fp8 = next((row for row in result.get('quantizations', ())
                if row['quantization'] == 'fp8' and row['reason'] is None), None)
    rows = [('time without a draft, over the floor', result['over_floor']['engine'], '≤ 1.4'),
            ('time with an accepted draft, over the floor', result['over_floor']['drafted'],
             '≤ 1.6'),
            ('plain Hugging Face over no draft', result['ratio_engine'], '≥ 4'),
            ('plain Hugging Face over an accepted draft', result['ratio_drafted'], '≥ 12'),
            ('speed of fp8 over bfloat16', fp8['speed'] if fp8 else 'not measured', '≥ 1.6')]
    return ['| figure | measured | target on a Hopper GPU |', '| --- | --- | --- |',
            *(f'| {name} | {value} | {target} |' for name, value, target in rows)]


def _table(heading: str, result: Mapping[str, Any]) -> list[str]:
    lines = [f'## {heading}', '', '| figure | value |', '| --- | --- |']
    return lines + [f'| {name} | {value} |' for name, value in _flatten(result)]


def _flatten(result: Mapping[str, Any], prefix: str = '') -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f'{prefix}{name} ')
        elif isinstance(value, list):
            rows += [(f'{prefix}{name} {number}', item) for number, item in enumerate(value, 1)]
        else:
            rows.append((f'{prefix}{name}', value))
    return rows
