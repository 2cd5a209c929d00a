# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The plots of the demo's report, as SVG to be put into a page."""

from collections.abc import Sequence
import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from vla_ros.demo.record import Record

#: Points of a line.
_MOST_POINTS = 1500
# Text stays text; and plots of the same numbers are identical byte by byte.
_STYLE: Any = {
    'svg.fonttype': 'none', 'svg.hashsalt': 'vla_ros', 'font.family': 'sans-serif',
    'axes.grid': True, 'grid.alpha': 0.3, 'axes.spines.top': False, 'axes.spines.right': False}

_Row = tuple[float, tuple[float, ...]]


def plot_ages(record: Record) -> str:
    """Draw how old each result's image was when its command went out, over simulated time."""
    if not record.results:
        return '<p>No result was recorded; vla_ros_msgs may not be built.</p>'
    times = np.array([result.time for result in record.results])
    ages = np.array([1e3 * result.age for result in record.results])
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 2.8), layout='constrained')
        axes = figure.add_subplot(xlabel='simulated time [s]', ylabel='age [ms]')
        axes.plot(times, ages, '.', color='0.5', markersize=3)
        for percentile, color in ((50, 'C0'), (99, 'C3')):
            value = np.percentile(ages, percentile)
            axes.axhline(value, color=color, linestyle='--',
                         label=f'p{percentile} {value:.0f} ms')
        axes.set_ylim(bottom=0.0)
        axes.legend(ncols=2)
        return _svg(figure)


def plot_joints(record: Record) -> str:
    """Draw where the joints were, and where they were sent, from the first instruction on."""
    # Before that the arm only waits.
    begin = record.attempts[0].began if record.attempts else 0.0
    joints, commands = ([row for row in rows if row[0] >= begin]
                        for rows in (record.joints, record.commands))
    if len(joints) < 2:
        return '<p>No joint states were recorded.</p>'
    measured, commanded = _columns(joints), _columns(commands)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.4), layout='constrained')
        axes = figure.add_subplot(xlabel='simulated time [s]', ylabel='rad; gripper m')
        for index, name in enumerate(record.names):
            axes.plot(measured[0], measured[1][:, index], color=f'C{index}', label=name,
                      linewidth=1.2)
            if len(commanded[0]):
                axes.plot(commanded[0], commanded[1][:, index], ':', color=f'C{index}',
                          linewidth=1.0)
        figure.legend(loc='outside upper center', ncols=len(record.names), frameon=False)
        return _svg(figure)


def _columns(rows: Sequence[_Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return times, float64 (N,), and positions, float64 (N, joints), of some of the rows."""
    some = rows[::max(1, len(rows) // _MOST_POINTS)]
    return (np.array([time for time, _ in some]),
            np.array([positions for _, positions in some]).reshape(len(some), -1))


def _svg(figure: Figure) -> str:
    """Return the element alone, without the head of a file."""
    text = io.StringIO()
    figure.savefig(text, format='svg', metadata={'Date': None})
    return text.getvalue()[text.getvalue().index('<svg'):]
