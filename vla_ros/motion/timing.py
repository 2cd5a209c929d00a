# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The rate contract: an action is worth one period of its dataset, however fast the model is."""

from dataclasses import dataclass
import math

from vla_ros.datasets import DatasetDescription
from vla_ros.errors import ParameterError

REMAINDERS = ('drop', 'blend')

#: Share by which a rate may exceed what is allowed: 5 Hz of a period of 0.2 s must not fail by
#: rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Timing:
    """
    How actions are laid out in time.

    :param duration: seconds that one action is given.
    :param smoothing: seconds that the arm may lag behind, so that a fresher action finds it
        moving; without it, it would stop after each action.
    :param repeat: seconds that the last delta of an answer goes on while no fresher one comes.
        0: the arm stops where the answer ends.
    :param remainder: what becomes of the rest of a chunk when a fresher one arrives: ``drop`` it,
        or ``blend`` it into the fresher one, in shares that fall from action to action.
    """

    duration: float
    smoothing: float = 0.1
    repeat: float = 0.0
    remainder: str = 'drop'

    def __post_init__(self) -> None:
        """Reject times that are none."""
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise ParameterError('duration of an action', self.duration, 'a positive number')
        for name in ('smoothing', 'repeat'):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ParameterError(f'action.{name}', value, 'a number of seconds, zero or more')
        if self.remainder not in REMAINDERS:
            raise ParameterError('action.remainder', self.remainder,
                                 f'one of {", ".join(REMAINDERS)}')


def action_duration(dataset: DatasetDescription, speed_scale: float = 1.0,
                    rate: float = 0.0) -> float:
    """
    Give the seconds that one action is given.

    :param speed_scale: how much faster (up to 2) or slower than in the dataset the arm moves.
    :param rate: actions a second that the user asks for, 0 for those of the dataset. Fewer make
        the arm slower; more than the period allows are refused.
    :raises DatasetError: the dataset's period is not known.
    :raises ParameterError: the rate would run the actions faster than was agreed.
    """
    if not 0.0 < speed_scale <= 2.0:
        raise ParameterError('action.speed_scale', speed_scale,
                             'a number above 0, at most 2')
    period = dataset.require_motion().period_s
    assert period is not None, 'require_motion has seen to it'
    most = speed_scale / period
    if rate == 0.0:
        return 1.0 / most
    if not 0.0 < rate <= most * (1.0 + _ROUNDING):
        raise ParameterError(
            'action.rate', rate,
            f'above 0 and at most {most:g} Hz: an action of {dataset.key} is worth {period:g} s, '
            f'and action.speed_scale is {speed_scale:g}; to move faster than in the dataset set '
            f'action.speed_scale to {rate * period:g} (at most 2), or action.rate to 0 for the '
            "dataset's own rate")
    return 1.0 / rate
