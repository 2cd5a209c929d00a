# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The plot of the loss curve."""

from pathlib import Path

from matplotlib.figure import Figure
import numpy as np

#: Points of a line; each is the mean of a window.
_MOST_POINTS = 200


def draw_curve(curve: list[dict[str, float]], path: Path) -> None:
    """
    Draw the action loss and, where it is known, the token accuracy as a PNG.

    Of reinforcement learning, whose loss says little, the rates of success are drawn.
    """
    figure = Figure(figsize=(8, 4), layout='constrained')
    if 'reward' in curve[0]:
        _draw_success(curve, figure)
        figure.savefig(path, dpi=100, format='png')
        return
    loss = figure.add_subplot(xlabel='step')
    loss.set_ylabel('action loss', color='C3')
    loss.plot(*_means(curve, 'action'), color='C3')
    loss.set_ylim(bottom=0.0)
    loss.grid(alpha=0.3)
    if 'accuracy' in curve[0]:
        accuracy = loss.twinx()
        accuracy.set_ylabel('tokens within 3 bins', color='C0')
        accuracy.plot(*_means(curve, 'accuracy'), color='C0')
        accuracy.set_ylim(0.0, 1.0)
    figure.savefig(path, dpi=100, format='png')


def _draw_success(curve: list[dict[str, float]], figure: Figure) -> None:
    axes = figure.add_subplot(xlabel='iteration', ylabel='rate of success')
    steps = np.arange(1, len(curve) + 1)
    axes.plot(steps, [row['reward'] for row in curve], color='C0', alpha=0.5, label='new scenes')
    validated = np.array([row['validation'] for row in curve])
    known = ~np.isnan(validated)
    axes.plot(steps[known], validated[known], color='C3', marker='o', label='held-out scenes')
    axes.set_ylim(top=1.0)
    axes.grid(alpha=0.3)
    axes.legend()


def _means(curve: list[dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and means of one of the numbers."""
    window = max(1, len(curve) // _MOST_POINTS)
    values = np.array([row[name] for row in curve])[:len(curve) // window * window]
    means = values.reshape(-1, window).mean(1)
    return window * (1 + np.arange(len(means))), means
