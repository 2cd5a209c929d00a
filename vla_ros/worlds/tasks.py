# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The tasks of the tabletop, and the detector of their success."""

from collections.abc import Mapping
from dataclasses import dataclass
import re

import numpy as np

from vla_ros.errors import VlaError

COLORS = ('red', 'green', 'blue', 'yellow')
_PHRASES = {'reach': 'reach the {} block', 'push': 'push the {} block',
            'pick': 'pick up the {} block'}
KINDS = tuple(_PHRASES)

#: Tool within this horizontal distance (m) of a block and below this height (m): reached.
REACH_DISTANCE, REACH_HEIGHT = 0.03, 0.11
#: Horizontal way (m) after which a block counts as pushed.
PUSH_DISTANCE = 0.05
#: Height (m) above its start at which a block counts as lifted.
LIFT_HEIGHT = 0.06
#: Seconds that reaching and lifting must last.
DWELL = 0.4


class TaskError(VlaError):
    """An instruction for none of the simulator's tasks."""

    def __init__(self, instruction: str) -> None:
        super().__init__(f'instruction {instruction!r} is not a task of the simulator; it knows '
                         f'{", ".join(_PHRASES.values())} with {", ".join(COLORS)}')
        self.instruction = instruction


@dataclass(frozen=True)
class Task:
    """
    One task.

    :param kind: one of :data:`KINDS`.
    :param color: one of :data:`COLORS`.
    """

    kind: str
    color: str

    @property
    def instruction(self) -> str:
        """The instruction for it."""
        return _PHRASES[self.kind].format(self.color)

    @classmethod
    def parse(cls, instruction: str) -> 'Task':
        """
        Find the task of an instruction.

        :raises TaskError: it is none of the tasks.
        """
        words = re.sub(r'\s+', ' ', instruction.strip().lower().rstrip('.!'))
        for task in ALL_TASKS:
            if task.instruction == words:
                return task
        raise TaskError(instruction)


ALL_TASKS = tuple(Task(kind, color) for kind in KINDS for color in COLORS)


@dataclass(frozen=True)
class WorldState:
    """
    Where everything is; positions in the frame of the base, m.

    :param time: seconds since the reset.
    :param tool: float64 (3,), the point between the finger tips.
    :param gripper: distance of a finger from the middle, m.
    :param blocks: center of each block that is on the table, float64 (3,), by colour.
    """

    time: float
    tool: np.ndarray
    gripper: float
    blocks: Mapping[str, np.ndarray]


class SuccessDetector:
    """
    Detects the success of a task: the first block to which it happens decides.

    That is a success only if it is the block that was named. Nothing after that counts.
    """

    def __init__(self, task: Task, start: WorldState) -> None:
        self.task = task
        self._start = start.blocks
        self._since: dict[str, float] = {}
        self.decided: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the right block was the first."""
        return self.decided == self.task.color

    def observe(self, now: WorldState) -> None:
        """Record the state of the world; to be called many times a second."""
        if self.decided is not None:
            return
        dwell = 0.0 if self.task.kind == 'push' else DWELL
        for color, position in now.blocks.items():
            if not self._happens(color, position, now.tool):
                self._since.pop(color, None)
            elif now.time - self._since.setdefault(color, now.time) >= dwell - 1e-9:
                self.decided = color
                return

    def _happens(self, color: str, position: np.ndarray, tool: np.ndarray) -> bool:
        if self.task.kind == 'reach':
            return (np.hypot(*(tool - position)[:2]) < REACH_DISTANCE
                    and tool[2] - position[2] < REACH_HEIGHT)
        moved = position - self._start[color]
        if self.task.kind == 'push':
            return np.hypot(*moved[:2]) > PUSH_DISTANCE
        return moved[2] > LIFT_HEIGHT
