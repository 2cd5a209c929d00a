# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What happened during a demo, as the report wants it."""

from dataclasses import dataclass
from dataclasses import field

import numpy as np


@dataclass(frozen=True)
class Answer:
    """
    One answer of the policy.

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
class Turn:
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

    turns: list[Turn] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    frames: list[tuple[float, bytes]] = field(default_factory=list)
    joints: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)
    commands: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)
    names: tuple[str, ...] = ()

    def answer_at(self, time: float) -> Answer | None:
        """Give the answer in force at a time."""
        return next((answer for answer in reversed(self.answers) if answer.time <= time), None)

    def turn_at(self, time: float) -> Turn | None:
        """Give the instruction that was being carried out at a time."""
        return next((turn for turn in self.turns
                     if turn.began <= time <= turn.began + turn.seconds), None)

    def ages_ms(self, percentiles: tuple[float, ...]) -> list[float]:
        """Percentiles of the ages in milliseconds, NaN where there is no answer."""
        ages = [1e3 * answer.age for answer in self.answers]
        return (np.percentile(ages, percentiles).tolist() if ages
                else [float('nan')] * len(percentiles))

    def rate(self) -> float:
        """Answers per second, simulated, while instructions were carried out."""
        seconds = sum(turn.seconds for turn in self.turns)
        return len(self.answers) / seconds if seconds else 0.0
