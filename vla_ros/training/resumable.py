# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A training that can be interrupted at any step and goes on to the same end."""

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vla_ros.errors import VlaError
from vla_ros.training.curve import draw_curve
from vla_ros.training.team import Team

_SAVE_EVERY = 100

#: What is kept in a folder to go on.
STATE_FILE = 'training_state.pt'

#: Told after each step: step number and losses by name.
Report = Callable[[int, dict[str, float]], None]


class TrainingError(VlaError):
    """A training that cannot begin or go on as asked."""


class ResumableTraining(ABC):
    """
    What every training has: a plan, a folder, losses so far, and how far it is.

    Every step is to be a function of the plan and the number of the step.
    """

    def __init__(self, plan: Any, folder: Path, team: Team) -> None:
        """
        Begin; :meth:`resume` goes on.

        :param plan: a dataclass with the number of ``steps`` and the ``batch``.
        :param folder: where everything is saved.
        :param team: who computes.
        """
        self.plan = plan
        self.folder = folder
        self.team = team
        self.parts = team.parts(plan.batch)
        self.step = 0
        self.curve: list[dict[str, float]] = []

    @property
    def _state_file(self) -> Path:
        return self.folder / STATE_FILE

    def resume(self) -> None:
        """
        Go on where an interrupted training saved, if one did.

        :raises TrainingError: it was a training of another plan.
        """
        if not self._state_file.is_file():
            return
        state = torch.load(self._state_file, self.team.device, weights_only=True)
        if state['plan'] != asdict(self.plan):
            raise TrainingError(f'{self.folder} holds an interrupted training of another plan '
                                f'({state["plan"]}); give the same options or another folder')
        self.take_state(state)
        self.step, self.curve = state['step'], state['curve']

    def train(self, advance: Callable[[], dict[str, float]], report: Report) -> None:
        """
        Train to the end of the plan, saving on the way.

        :param advance: makes the step that ``step`` counts; gives its losses by name.
        """
        while self.step < self.plan.steps:
            losses = advance()
            self.step += 1
            self.curve.append(losses)
            if not self.team.is_leader:
                continue
            report(self.step, losses)
            if self.step % _SAVE_EVERY == 0 or self.step == self.plan.steps:
                self.save()
        self.team.wait()

    def save(self) -> None:
        """Write what was learnt, the state and the loss curve."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._state_file.with_suffix('.unfinished')
        torch.save({'plan': asdict(self.plan), 'step': self.step, 'curve': self.curve,
                    **self.state()}, unfinished)
        unfinished.replace(self._state_file)
        self.write()
        draw_curve(self.curve, self.folder / 'loss.png')

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Give what has to be kept to go on."""

    @abstractmethod
    def take_state(self, state: dict[str, Any]) -> None:
        """Go on with what was kept."""

    @abstractmethod
    def write(self) -> None:
        """Write what was learnt, for others to load."""
