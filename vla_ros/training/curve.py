# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The plot of the loss curve."""

from pathlib import Path

from matplotlib.figure import Figure
import numpy as np

#: Points of a line; each is the mean of a window.
_MOST_POINTS = 200


def draw_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Draw the action loss and, where it is known, the token accuracy as a PNG."""
    figure = Figure(figsize=(8, 4), layout='constrained')
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


def _means(curve: list[dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Give steps and means of one of the numbers."""
    window = max(1, len(curve) // _MOST_POINTS)
    values = np.array([row[name] for row in curve])[:len(curve) // window * window]
    means = values.reshape(-1, window).mean(1)
    return window * (1 + np.arange(len(means))), means
