# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The statistics of a dataset as JSON holds them: checked, because they scale every action.

``norm_stats`` has three levels: dataset, part (``action``, ``proprio``), and the list of numbers,
one for each dimension.
"""

from collections.abc import Mapping
import reprlib
from typing import Any

import numpy as np

from vla_ros.errors import VlaError

#: normalization -> names of the statistics that -1 and 1 stand for
BOUNDS = {'bounds_q99': ('q01', 'q99'), 'bounds': ('min', 'max')}
_NUMBERS = ('q01', 'q99', 'min', 'max', 'mean', 'std')
# Pairs of which the first may not be above the second.
_ORDER = (('q01', 'q99'), ('min', 'max'), ('min', 'q01'), ('q99', 'max'), ('min', 'mean'),
          ('mean', 'max'))
# What float32 loses of a mean or a percentile of equal numbers, as a share of the larger one.
_TOLERANCE = 1e-3
_REMEDY = 'compute them again from the training data'


class StatisticsError(VlaError):
    """Dataset statistics that cannot scale an action."""


def lacks_dataset_level(stats: Mapping[str, Any]) -> bool:
    """Return whether ``norm_stats`` begins with the parts, or the numbers, of a single dataset."""
    parts = [stats[name] for name in ('action', 'proprio', 'state') if name in stats]
    return any(name in stats for name in _NUMBERS) or any(
        isinstance(part, Mapping) and any(name in part for name in _NUMBERS) for part in parts)


def count_dimensions(dataset: Any, part: str = 'action') -> int:
    """
    Count the dimensions of a part by any of its bounds.

    :raises StatisticsError: there are none.
    """
    entry = _entry(dataset, part)
    for name in ('q01', 'min'):
        if entry.get(name) is not None:
            return len(_numbers(entry, name, part))
    raise StatisticsError(_no_bounds(entry, part, 'bounds_q99'))


def read_bounds(dataset: Any, part: str, normalization: str
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Read the range of every dimension from one dataset of ``norm_stats``.

    :param part: ``action`` or ``proprio``.
    :param normalization: ``bounds_q99`` for the percentiles, ``bounds`` for the extremes.
    :returns: float64 (D,) lower and upper ends, in the dataset's units, and bool (D,) the mask.
    :raises StatisticsError: numbers are missing, or do not make sense together.
    """
    entry = _entry(dataset, part)
    lowest, highest = BOUNDS[normalization]
    if entry.get(lowest) is None or entry.get(highest) is None:
        raise StatisticsError(_no_bounds(entry, part, normalization))
    found = {name: _numbers(entry, name, part) for name in _NUMBERS
             if entry.get(name) is not None}
    mask = _mask(entry, part, len(found[lowest]))
    _check_lengths({**found, 'mask': mask}, part)
    _check_order(found, part)
    return found[lowest], found[highest], mask


def _entry(dataset: Any, part: str) -> Mapping[str, Any]:
    if not isinstance(dataset, Mapping):
        raise StatisticsError(f'{part} statistics: the dataset is {reprlib.repr(dataset)}, it '
                              f'must be an object that holds {part!r}')
    if part not in dataset:
        if any(name in dataset for name in _NUMBERS):
            raise StatisticsError(f'{part} statistics: they stand directly under the name of the '
                                  f'dataset; put them one level down, under {part!r}')
        raise StatisticsError(f'{part} statistics: the dataset holds no {part!r}, only '
                              f'{", ".join(sorted(map(str, dataset))) or "nothing"}')
    entry = dataset[part]
    if not isinstance(entry, Mapping):
        raise StatisticsError(f'{part} statistics: got {reprlib.repr(entry)}, it must be an '
                              'object of lists')
    return entry


def _no_bounds(entry: Mapping[str, Any], part: str, normalization: str) -> str:
    there = ', '.join(name for name in _NUMBERS if entry.get(name) is not None) or 'nothing'
    first, last = BOUNDS[normalization]
    if normalization == 'bounds_q99':
        remedy = ('add q01 and q99, the 1st and 99th percentile of the training data (an OFT '
                  'checkpoint that was trained on min and max says so by normalization: bounds '
                  'in a datasets_file)')
    else:
        remedy = f'add {first} and {last}, the extremes of the training data'
    return f'{part} statistics: no usable {first} and {last}, there is {there}; {remedy}'


def _numbers(entry: Mapping[str, Any], name: str, part: str) -> np.ndarray:
    values = entry[name]
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(values, (list, tuple)) or not values or not all(
            type(value) in (int, float) for value in values):
        raise StatisticsError(f'{part} statistics: {name} is {reprlib.repr(values)}, it must be a '
                              'list of numbers, one for each dimension')
    for index, value in enumerate(values):
        # 1e30: no unit of a robot makes larger numbers, and their difference stays finite
        if not abs(value) <= 1e30:  # so written that NaN is refused
            raise StatisticsError(f'{part} statistics: {name} of dimension {index} is '
                                  f'{reprlib.repr(value)}, it must be a finite number; {_REMEDY}')
    return np.array(values, np.float64)


def _mask(entry: Mapping[str, Any], part: str, dimensions: int) -> np.ndarray:
    values = entry.get('mask')
    if values is None:
        return np.ones(dimensions, bool)
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(values, (list, tuple)) or not all(
            isinstance(value, bool) for value in values):
        raise StatisticsError(f'{part} statistics: mask is {reprlib.repr(values)}, it must be a '
                              'list of true and false, one for each dimension')
    return np.array(values, bool)


def _check_lengths(found: Mapping[str, np.ndarray], part: str) -> None:
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        shown = ', '.join(f'{name} {length}' for name, length in lengths.items())
        raise StatisticsError(f'{part} statistics: all lists must be of one length, got {shown}')


def _check_order(found: Mapping[str, np.ndarray], part: str) -> None:
    for low, high in _ORDER:
        if low not in found or high not in found:
            continue
        least, most = found[low], found[high]
        # The two that scale, and the extremes, are exact; the others are computed apart.
        exact = (low, high) in BOUNDS.values()
        slack = 0.0 if exact else 1e-6 + _TOLERANCE * np.maximum(abs(least), abs(most))
        wrong = np.flatnonzero(least > most + slack)
        if wrong.size:
            index = int(wrong[0])
            raise StatisticsError(
                f'{part} statistics: {low} is above {high} in dimension {index} '
                f'({least[index]:g} > {most[index]:g}); {_REMEDY}')
    if 'std' in found and (found['std'] < 0).any():
        index = int(np.flatnonzero(found['std'] < 0)[0])
        raise StatisticsError(f'{part} statistics: std of dimension {index} is negative '
                              f'({found["std"][index]:g}); {_REMEDY}')
