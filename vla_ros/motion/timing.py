# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The rate contract: an action lasts one period of its dataset, however fast the model is."""

from dataclasses import dataclass
import math

from vla_ros.data.datasets import DatasetDescription
from vla_ros.errors import ParameterError

REMAINDERS = ('drop', 'blend', 'align', 'align_blend')

#: Share by which a rate may exceed what is allowed: 5 Hz of a period of 0.2 s must not fail by
#: rounding.
_ROUNDING = 1e-6
#: Times the speed of the training data.
_FASTEST = 2.0
#: Seconds that an old delta may go on.
LONGEST_REPEAT = 5.0


@dataclass(frozen=True)
class Timing:
    """
    How actions are planned in time.

    :param duration: seconds of one action.
    :param smoothing: seconds that the arm may lag behind, so that a fresher action finds it
        moving; without it, it would stop after each action.
    :param repeat: seconds that the last delta of a result is repeated while no fresher one
        comes. 0: the arm stops where the result ends.
    :param remainder: what becomes of the rest of a chunk when a fresher one arrives: ``drop`` it,
        ``blend`` it into the fresher one, in shares that fall from action to action, ``align``
        the fresher one in time: its actions that are past by then are skipped, or both.
    """

    duration: float
    smoothing: float = 0.1
    repeat: float = 0.0
    remainder: str = 'drop'

    @property
    def is_aligned(self) -> bool:
        """Whether actions that are past are skipped."""
        return self.remainder.startswith('align')

    @property
    def is_blended(self) -> bool:
        """Whether the rest of the chunk before is blended in."""
        return self.remainder.endswith('blend')

    def __post_init__(self) -> None:
        """Reject values that are no times."""
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
    Return the seconds of one action.

    :param speed_scale: how much faster (up to 2) or slower than in the dataset the arm moves.
    :param rate: actions a second that the user asks for, 0 for those of the dataset. Fewer make
        the arm slower; more than the period allows are refused.
    :raises DatasetError: the dataset's period is not known.
    :raises ParameterError: the rate would run the actions faster than was agreed.
    """
    if not 0.0 < speed_scale <= _FASTEST:
        raise ParameterError('action.speed_scale', speed_scale,
                             f'a number above 0, at most {_FASTEST:g}')
    period = dataset.require_motion().period_s
    assert period is not None, 'require_motion guarantees it'
    most = speed_scale / period
    if rate == 0.0:
        return 1.0 / most
    if not 0.0 < rate <= most * (1.0 + _ROUNDING):
        advice, needed = "set action.rate to 0 for the dataset's own rate", rate * period
        if speed_scale < needed <= _FASTEST:
            advice = f'set action.speed_scale to {needed:g} to move faster, or {advice}'
        raise ParameterError(
            'action.rate', rate,
            f'above 0 and at most {most:g} Hz: an action of {dataset.key} lasts {period:g} s, '
            f'and action.speed_scale is {speed_scale:g}; {advice}')
    return 1.0 / rate
