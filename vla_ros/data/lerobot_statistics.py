# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Statistics of a LeRobot dataset: of each episode, and all of them put together.

Source: huggingface/lerobot, ``compute_stats.py``. Quantiles of the whole are the means of those of
the episodes, weighted by their frames, as there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

_QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
#: Pixels of an image that are sampled: about so many rows and columns.
_GRID = 48
#: Images of an episode that are sampled.
_IMAGES = 64

Statistics = Mapping[str, np.ndarray]


class ImageSample:
    """Some pixels of some images of an episode, however long it is."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._stride = 1
        self._seen = 0
        self._kept: list[np.ndarray] = []

    def add(self, rgb: np.ndarray) -> None:
        """Sample an image, uint8 (H, W, 3)."""
        if self._seen % self._stride == 0:
            rows, columns = (max(1, size // _GRID) for size in rgb.shape[:2])
            self._kept.append(rgb[::rows, ::columns].reshape(-1, 3).copy())
            if len(self._kept) > _IMAGES:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1

    def statistics(self, frames: int) -> Statistics:
        """Compute the statistics of the colours, (3, 1, 1) each, as a share of the brightest."""
        pixels = np.concatenate(self._kept).astype(np.float64) / 255
        found = statistics_of(pixels)
        return {**{name: value.reshape(3, 1, 1) for name, value in found.items()
                   if name != 'count'}, 'count': np.array([frames])}


def statistics_of(values: np.ndarray) -> Statistics:
    """Compute the statistics of each column, of float64 (N, D)."""
    return {'min': values.min(0), 'max': values.max(0), 'mean': values.mean(0),
            'std': values.std(0), 'count': np.array([len(values)]),
            **{f'q{round(100 * q):02d}': np.quantile(values, q, 0) for q in _QUANTILES}}


def combine(parts: list[Statistics]) -> Statistics:
    """Combine the statistics of several episodes."""
    counts = np.array([part['count'][0] for part in parts], np.float64)
    shape = (-1, *(1,) * parts[0]['mean'].ndim)
    weights = (counts / counts.sum()).reshape(shape)
    mean = sum_of(weights, parts, 'mean')
    spread = np.stack([part['std']**2 + (part['mean'] - mean)**2 for part in parts])
    return {'min': np.min([part['min'] for part in parts], 0),
            'max': np.max([part['max'] for part in parts], 0), 'mean': mean,
            'std': np.sqrt((weights * spread).sum(0)), 'count': np.array([int(counts.sum())]),
            **{name: sum_of(weights, parts, name) for name in parts[0] if name.startswith('q')}}


def sum_of(weights: np.ndarray, parts: list[Statistics], name: str) -> np.ndarray:
    """Sum one of the statistics of all parts by their weights."""
    return np.asarray((weights * np.stack([part[name] for part in parts])).sum(0))


def as_lists(statistics: Mapping[str, Statistics]) -> dict[str, dict[str, Any]]:
    """Return statistics by feature as JSON has them."""
    return {feature: {name: value.tolist() for name, value in numbers.items()}
            for feature, numbers in statistics.items()}
