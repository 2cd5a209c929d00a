# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What happened during a demo: commands with their latencies, by instruction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Command:
    """
    A joint command that arrived.

    :param image_time: stamp of the image that it answers, in seconds of the ROS clock.
    :param arrival_time: when it arrived, on the same clock.
    """

    image_time: float
    arrival_time: float
    names: tuple[str, ...]
    positions: tuple[float, ...]

    @property
    def latency(self) -> float:
        """Seconds from the image to the arrival of its command."""
        return self.arrival_time - self.image_time


class Record:
    """The commands and instructions of a run."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self._instructions: list[tuple[float, str]] = []

    def add_command(self, command: Command) -> None:
        """Keep a command."""
        self.commands.append(command)

    def add_instruction(self, time: float, instruction: str) -> None:
        """Keep an instruction and the time from which it holds, in seconds of the ROS clock."""
        self._instructions.append((time, instruction))

    def recent_rate(self, now: float, seconds: float = 2.0) -> float:
        """Commands per second over the last seconds, at most since the first command."""
        recent = [command for command in self.commands if command.arrival_time > now - seconds]
        span = min(seconds, now - self.commands[0].arrival_time) if recent else 0.0
        return len(recent) / span if span > 0.0 else 0.0

    def rate(self) -> float:
        """Commands per second from the first to the last."""
        if len(self.commands) < 2:
            return 0.0
        span = self.commands[-1].arrival_time - self.commands[0].arrival_time
        return (len(self.commands) - 1) / span if span > 0.0 else 0.0

    def latencies_ms(self, percentiles: Sequence[float]) -> list[float]:
        """Percentiles of the latency in milliseconds; there must be a command."""
        latencies = [1e3 * command.latency for command in self.commands]
        return np.percentile(latencies, percentiles).tolist()

    def commands_by_instruction(self) -> list[tuple[str, int, int]]:
        """
        Count, for each instruction in order, its commands and how many of them differ.

        A command belongs to the instruction that held when its image was taken.
        """
        counts: Counter[int] = Counter()
        distinct: dict[int, set[tuple[float, ...]]] = {}
        for command in self.commands:
            index = max((i for i, (time, _) in enumerate(self._instructions)
                         if time <= command.image_time), default=0)
            counts[index] += 1
            distinct.setdefault(index, set()).add(command.positions)
        return [(instruction, counts[i], len(distinct.get(i, ())))
                for i, (_, instruction) in enumerate(self._instructions)]
