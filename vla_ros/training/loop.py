# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The training of the small model on situations that the expert has labelled."""

from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.model.weights import load_weights
from vla_ros.policy import ignore_progress
from vla_ros.training.layout import write_folder
from vla_ros.training.layout import write_weights
from vla_ros.training.learner import Learner
from vla_ros.training.learner import PixelTable
from vla_ros.training.resumable import Report
from vla_ros.training.resumable import ResumableTraining
from vla_ros.training.resumable import STATE_FILE
from vla_ros.training.samples import Samples
from vla_ros.training.team import Team

_AVERAGING = 0.998
_TOLD = ('action', 'places', 'state', 'accuracy')


@dataclass(frozen=True)
class TrainingPlan:
    """
    What decides the result of a training.

    :param steps: optimiser steps; the learning rate falls to zero over them.
    :param batch: pictures in each step.
    :param branches: instructions for each picture.
    :param samples: pictures drawn from the simulator.
    """

    steps: int = 6000
    batch: int = 32
    branches: int = 3
    samples: int = 20000
    learning_rate: float = 1.5e-3
    warmup: int = 150
    seed: int = 0

    def choose_rows(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Choose the pictures of a step out of ``count``, int64 (batch,)."""
        return rng.choice(count, self.batch, replace=False)


class Training(ResumableTraining):
    """A learner, its optimiser and its running average."""

    def __init__(self, plan: TrainingPlan, folder: Path, start: Path | None = None,
                 team: Team = Team()) -> None:
        """
        Begin, or go on where an interrupted training saved.

        :param folder: becomes the checkpoint.
        :param start: checkpoint to begin from; None: from nothing.
        :param team: who computes.
        :raises TrainingError: the folder holds a training of another plan.
        """
        super().__init__(plan, folder, team)
        if team.is_leader:
            write_folder(folder)
        team.wait()
        checkpoint = open_checkpoint(str(folder))
        self.transform = checkpoint.image_processor.towers[0]
        self._pixels = PixelTable([tower.table for tower in checkpoint.image_processor.towers])
        torch.manual_seed(plan.seed)
        self.learner = Learner(folder, plan.branches).on(team.device)
        if start is not None:
            _take_over(self.learner, start)
        self._average = {name: value.detach().clone()
                         for name, value in self.learner.network.named_parameters()}
        decayed = [p for p in self.learner.parameters() if p.dim() > 1]
        others = [p for p in self.learner.parameters() if p.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [{'params': decayed, 'weight_decay': 0.02}, {'params': others, 'weight_decay': 0.0}],
            lr=plan.learning_rate, betas=(0.9, 0.98))
        self.resume()

    def run(self, samples: Samples, report: Report) -> None:
        """Train to the end of the plan, saving on the way."""
        self.train(lambda: self._advance(samples), report)

    def state(self) -> dict[str, Any]:
        """Give what has to be kept to go on."""
        return {'learner': self.learner.state_dict(), 'average': self._average,
                'optimizer': self._optimizer.state_dict()}

    def take_state(self, state: dict[str, Any]) -> None:
        """Go on with what was kept."""
        self.learner.load_state_dict(state['learner'])
        self._optimizer.load_state_dict(state['optimizer'])
        self._average = state['average']

    def write(self) -> None:
        """Write the checkpoint, with the averaged weights."""
        current = {name: value.detach().clone()
                   for name, value in self.learner.network.named_parameters()}
        self._put(self._average)
        write_weights(self.learner.network, self.folder)
        self._put(current)

    def _put(self, values: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.learner.network.named_parameters():
                parameter.copy_(values[name])

    def _advance(self, samples: Samples) -> dict[str, float]:
        plan = self.plan
        rng = np.random.default_rng([plan.seed, self.step])
        torch.manual_seed(int(rng.integers(2**62)))
        rows = np.sort(plan.choose_rows(rng, len(samples.images)))
        tasks = np.stack([self._choose_tasks(rng, samples, row) for row in rows])
        actions = samples.actions[rows[:, None], tasks]
        for group in self._optimizer.param_groups:
            group['lr'] = self._learning_rate()
        self._optimizer.zero_grad(set_to_none=True)
        told = self._learn(samples, rows, tasks, actions)
        self.team.add_gradients(self.learner.parameters())
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self._optimizer.step()
        done = self.step + 1
        keep = min(_AVERAGING, done / (done + 20))
        with torch.no_grad():
            for name, parameter in self.learner.network.named_parameters():
                self._average[name].lerp_(parameter, 1 - keep)
        return self.team.add(told)

    def _learn(self, samples: Samples, rows: np.ndarray, tasks: np.ndarray,
               actions: np.ndarray) -> dict[str, float]:
        """Compute the gradients of this process's parts of a batch, and their losses by name."""
        # What is random is drawn for the whole batch, however it is divided.
        pixels = self._pixels(samples.images[rows], augment=True)
        noise = torch.randn(actions.shape)
        places = torch.from_numpy(samples.places[rows])
        visible = self.learner.visible(places).sum()
        inputs = (pixels, torch.from_numpy(tasks), torch.from_numpy(actions), places,
                  torch.from_numpy(samples.state[rows]), noise)
        told = dict.fromkeys(_TOLD, 0.0)
        for part in self.parts:
            with self.team.autocast():
                losses = self.learner(*(x[part].to(self.team.device) for x in inputs))
            seen = self.learner.visible(places[part]).sum()
            losses = losses.weighed(self.team.share, float(seen / visible))
            losses.total.backward()
            for name in _TOLD:
                told[name] += float(getattr(losses, name).detach())
        return told

    def _choose_tasks(self, rng: np.random.Generator, samples: Samples, row: int) -> np.ndarray:
        """Take the task around which the situation was drawn, and others that are possible."""
        possible = np.flatnonzero(~np.isnan(samples.actions[row, :, 0]))
        others = rng.permutation(possible[possible != samples.task[row]])
        return np.array([samples.task[row], *others[:self.plan.branches - 1]])

    def _learning_rate(self) -> float:
        plan = self.plan
        rise = min(1.0, (self.step + 1) / plan.warmup)
        return plan.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * self.step / plan.steps))


def _take_over(learner: Learner, start: Path) -> None:
    """Begin with the averaged weights of a checkpoint, and its helpers if it still has them."""
    if (start / STATE_FILE).is_file():
        state = torch.load(start / STATE_FILE, weights_only=True)
        learner.load_state_dict(state['learner'])
        learner.network.load_state_dict(state['average'])
    else:
        load_weights(learner.network, start, ignore_progress)
