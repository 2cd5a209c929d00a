# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What no command may exceed: position, velocity, acceleration and jerk of every joint."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np

from vla_ros.errors import ParameterError


@dataclass(frozen=True)
class Limits:
    """
    Limits of N joints in the order of their names: rad and m, seconds.

    :param lower: float64 (N,), smallest positions.
    :param upper: float64 (N,), largest positions.
    :param velocity: float64 (N,), largest speeds.
    :param acceleration: float64 (N,), largest accelerations and decelerations.
    :param jerk: float64 (N,), largest changes of acceleration in a second.
    """

    names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray

    def __post_init__(self) -> None:
        """Reject limits that would not limit."""
        if not self.names or len(set(self.names)) != len(self.names):
            raise ParameterError('joints', list(self.names), 'at least one name, none twice')
        for field in ('lower', 'upper', 'velocity', 'acceleration', 'jerk'):
            values = getattr(self, field)
            if values.shape != (len(self.names),) or not np.isfinite(values).all():
                raise ParameterError(f'limits.{field}', values.tolist(),
                                     f'{len(self.names)} finite numbers, one for each of '
                                     f'{", ".join(self.names)}')
        if not (self.lower < self.upper).all():
            raise ParameterError('limits.lower', self.lower.tolist(),
                                 f'below limits.upper {self.upper.tolist()} in every joint')
        for field in ('velocity', 'acceleration', 'jerk'):
            if not (getattr(self, field) > 0).all():
                raise ParameterError(f'limits.{field}', getattr(self, field).tolist(),
                                     'above zero in every joint')

    def tightened(self, **own: Sequence[float]) -> 'Limits':
        """
        Return these limits, narrowed by the user's own.

        :param own: ``lower``, ``upper``, ``velocity``, ``acceleration``, ``jerk``: one number for
            each joint, or none at all. NaN leaves a joint as it is.
        :raises ParameterError: a list has the wrong length, or would widen a limit.
        """
        merged = {field: self._narrow(field, values) for field, values in own.items()
                  if len(values)}
        return Limits(self.names, **{
            field: merged.get(field, getattr(self, field))
            for field in ('lower', 'upper', 'velocity', 'acceleration', 'jerk')})

    def _narrow(self, field: str, values: Sequence[float]) -> np.ndarray:
        limit = getattr(self, field)
        own = as_vector(f'limits.{field}', values, len(self.names), nan=True)
        narrowed = np.where(np.isnan(own), limit, own)
        widens = narrowed < limit if field == 'lower' else narrowed > limit
        if widens.any():
            raise ParameterError(f'limits.{field}', list(values),
                                 f"not wider than the robot's own limits {limit.tolist()}")
        return narrowed


def as_vector(name: str, values: object, length: int, nan: bool = False) -> np.ndarray:
    """
    Read a list of numbers of a given length, float64 (length,).

    :param nan: NaN is allowed, too.
    :raises ParameterError: it is not that.
    """
    allowed = f'a list of {length} numbers'
    if not isinstance(values, (list, tuple)) or len(values) != length:
        raise ParameterError(name, values, allowed)
    if not all(type(value) in (int, float) for value in values):
        raise ParameterError(name, values, allowed)
    if not all(math.isfinite(value) or nan and math.isnan(value) for value in values):
        raise ParameterError(name, values, f'{allowed}, all finite')
    return np.array(values, np.float64)
