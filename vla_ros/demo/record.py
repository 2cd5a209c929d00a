# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What happened during a demo, as the report wants it."""

from dataclasses import dataclass
from dataclasses import field

import numpy as np


@dataclass(frozen=True)
class InferenceResult:
    """
    One result of the policy.

    :param time: simulated seconds at which its command went out.
    :param age: seconds from the image to that moment.
    :param stages: milliseconds of the wall by stage.
    """

    time: float
    age: float
    instruction: str
    tokens: tuple[int, ...]
    stages: dict[str, float]


@dataclass(frozen=True)
class Attempt:
    """
    One instruction, and how it went.

    :param decided: colour of the block to which it happened first, empty if to none.
    :param began: simulated seconds.
    :param seconds: simulated, until it was decided or given up.
    """

    instruction: str
    succeeded: bool
    decided: str
    began: float
    seconds: float


@dataclass
class Record:
    """
    Everything of one run, in the order in which it came.

    :param frames: (time, JPEG) of some of the images.
    :param joints: (time, positions) of the measurements, rad and m, by joint.
    :param commands: likewise, of the commands.
    """

    attempts: list[Attempt] = field(default_factory=list)
    results: list[InferenceResult] = field(default_factory=list)
    frames: list[tuple[float, bytes]] = field(default_factory=list)
    joints: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)
    commands: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)
    names: tuple[str, ...] = ()

    def result_at(self, time: float) -> InferenceResult | None:
        """Return the result in force at a time."""
        return next((result for result in reversed(self.results) if result.time <= time), None)

    def attempt_at(self, time: float) -> Attempt | None:
        """Return the instruction that was being carried out at a time."""
        return next((attempt for attempt in self.attempts
                     if attempt.began <= time <= attempt.began + attempt.seconds), None)

    def ages_ms(self, percentiles: tuple[float, ...]) -> list[float]:
        """Percentiles of the ages in milliseconds, NaN where there is no result."""
        ages = [1e3 * result.age for result in self.results]
        return (np.percentile(ages, percentiles).tolist() if ages
                else [float('nan')] * len(percentiles))

    def rate(self) -> float:
        """Results per second, simulated, while instructions were carried out."""
        seconds = sum(attempt.seconds for attempt in self.attempts)
        return len(self.results) / seconds if seconds else 0.0
