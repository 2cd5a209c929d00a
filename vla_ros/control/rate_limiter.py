# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""When an inference starts: the moment the policy is free, or one action period after the last."""

from collections.abc import Callable
from dataclasses import replace
import math
import time

from vla_ros.control.parameters import NodeConfig
from vla_ros.data.datasets import DatasetDescription
from vla_ros.data.datasets import load_datasets
from vla_ros.errors import ParameterError


class RateLimiter:
    """
    Says when the next inference may start.

    Starts lie on a grid, so that waking up late once does not put off all that follow. Where an
    inference took longer than a period the next one starts at once, and the grid with it.
    """

    def __init__(self, period: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Allow the first inference at once.

        :param period: seconds from one start to the next; 0: as soon as the policy is free.
        """
        self.period = period
        self._clock = clock
        self._due = -math.inf

    def wait(self) -> float:
        """Return the seconds that are left to wait, 0 if an inference may start."""
        return max(0.0, self._due - self._clock()) if self.period > 0.0 else 0.0

    def start(self) -> None:
        """Record that an inference starts now."""
        now = self._clock()
        self._due = (self._due if now - self._due < self.period else now) + self.period


def start_period(config: NodeConfig, unnorm_key: str) -> float:
    """
    Return the seconds between the starts of two inferences, 0 if they follow at once.

    :param unnorm_key: the policy's dataset, whose period it is where no parameter says more.
    :raises ParameterError: the period is wanted and not known.
    """
    if config.inference_start == 'newest':
        return 0.0
    known = load_datasets(config.datasets_file or None)
    dataset = known.get(unnorm_key, DatasetDescription(unnorm_key))
    if config.action_period:
        dataset = replace(dataset, period_s=config.action_period)
    if dataset.period_s is None:
        raise ParameterError('inference.start', config.inference_start, 'newest where neither '
                             f'action.period nor a description of {unnorm_key} gives the period')
    period = dataset.period_s / config.speed_scale
    return max(period, 1.0 / config.action_rate) if config.action_rate else period
