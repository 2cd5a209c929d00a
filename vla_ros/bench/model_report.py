# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The result of ``vla_bench model`` as Markdown and as a plot."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_ros.bench.quantization import table as quantization_table


def table(result: Mapping[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [f'Model {result["model"]}, frames {result["frame"]}, n = {result["rounds"]} runs of '
             'each variant, taken in turns.', '',
             f'Machine: {result["machine"]["line"]}, load {result["machine"]["load_average"]}.',
             '',
             '| variant | p50 ms | p99 ms | max ms | jitter ms | baseline / it |',
             '| --- | --- | --- | --- | --- | --- |']
    names = {'baseline': 'plain Hugging Face', 'engine': 'engine, no draft',
             'drafted': 'engine, draft accepted', 'rejected': 'engine, drafts always wrong',
             'rejected_first': 'engine, a first wrong draft'}
    for name, label in names.items():
        row = result[name]
        ratio = result['baseline']['p50_ms'] / row['p50_ms']
        lines.append(f'| {label} | {row["p50_ms"]:.2f} | {row["p99_ms"]:.2f} | '
                     f'{row["max_ms"]:.2f} | {row["jitter_ms"]:.2f} | {ratio:.2f} |')
    lines += ['', '| stage | no draft: p50 ms | p99 ms | draft accepted: p50 ms | p99 ms |',
              '| --- | --- | --- | --- | --- |']
    for stage, row in result['stages_ms'].items():
        other = result['drafted_stages_ms'].get(stage, {'p50_ms': 0.0, 'p99_ms': 0.0})
        lines.append(f'| {stage} | {row["p50_ms"]:.2f} | {row["p99_ms"]:.2f} | '
                     f'{other["p50_ms"]:.2f} | {other["p99_ms"]:.2f} |')
    machine, achieved = result['machine'], result['achieved']
    lines += ['', f'Ceilings measured: copy {machine["copy_gb_per_s"]:.1f} GB/s, matrix product '
              f'{machine["matmul_tflop_per_s"]:.3f} TFLOP/s. Achieved: vision '
              f'{achieved["vision_tflop_per_s"]:.3f} and prefill '
              f'{achieved["prefill_tflop_per_s"]:.3f} TFLOP/s, decode '
              f'{achieved["decode_gb_per_s"]:.1f} GB/s. Floor {result["floor_ms"]["engine"]:.2f} '
              f'ms without a draft, {result["floor_ms"]["drafted"]:.2f} ms with a perfect one.',
              '', f'Tokens equal to the plain way: {100 * result["token_agreement"]:.2f} %. Time '
              'against no draft, median of the rounds: '
              f'{100 * (result["ratio_rejected"] - 1):+.1f} % with drafts that are always wrong, '
              f'{100 * (result["ratio_rejected_first"] - 1):+.1f} % with a first wrong one.']
    if 'quantizations' in result:
        lines += ['', *quantization_table(result['quantizations'])]
    return '\n'.join(lines)


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Draw the phases of each variant as bars."""
    from matplotlib.figure import Figure  # only a plot needs it
    figure = Figure(figsize=(8, 2.6), layout='constrained')
    axes = figure.add_subplot()
    axes.barh('plain Hugging Face', result['baseline']['p50_ms'], color='0.7', label='in all')
    colors = {stage: f'C{index}' for index, stage in enumerate(result['stages_ms'])}
    for label, key in (('engine', 'stages_ms'), ('engine, draft accepted', 'drafted_stages_ms')):
        left = 0.0
        for stage, row in result[key].items():
            axes.barh(label, row['p50_ms'], left=left, color=colors.get(stage),
                      label=stage if key == 'stages_ms' else None)
            left += row['p50_ms']
    axes.invert_yaxis()
    axes.set_xlabel(f'ms (p50 of {result["rounds"]} runs)')
    axes.set_title(result['machine']['line'], fontsize=6)
    axes.legend(fontsize=6, ncols=4)
    figure.savefig(path, dpi=150, format='png')
