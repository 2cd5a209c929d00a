# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The training loop: every step is a function of seed and step number, so it can be resumed."""

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageDraw
import torch

from vla_ros.errors import VlaError
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.preprocess import TowerTransform
from vla_ros.training.layout import write_folder
from vla_ros.training.layout import write_weights
from vla_ros.training.learner import Learner
from vla_ros.training.learner import PixelTable
from vla_ros.training.samples import make_sampler
from vla_ros.training.samples import Samples

_SHARD = 500
_SAVE_EVERY = 100
_AVERAGING = 0.998


class TrainingError(VlaError):
    """A training that cannot begin or go on as asked."""


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


#: Told after each step: step number and losses by name.
Report = Callable[[int, dict[str, float]], None]


def draw_samples(folder: Path, count: int, transform: TowerTransform,
                 report: Callable[[int], None]) -> Samples:
    """Draw samples by seed 0 … count, from files where they were drawn before."""
    folder.mkdir(parents=True, exist_ok=True)
    sampler = None
    parts = []
    for start in range(0, count, _SHARD):
        path = folder / f'part_{start // _SHARD:03d}.npz'
        if not path.is_file():
            sampler = sampler or make_sampler(transform)
            drawn = Samples.join(list(sampler.draw_many(range(start, start + _SHARD))))
            unfinished = path.with_suffix('.unfinished.npz')
            np.savez(unfinished, **vars(drawn))
            unfinished.rename(path)
        with np.load(path) as stored:
            parts.append(Samples(**stored))
        report(min(count, start + _SHARD))
    return Samples.join(parts)


class Training:
    """A learner, its optimiser, its running average and how far it is."""

    def __init__(self, plan: TrainingPlan, folder: Path) -> None:
        """
        Begin, or go on where an interrupted training saved.

        :param folder: becomes the checkpoint.
        :raises TrainingError: the folder holds a training of another plan.
        """
        self.plan = plan
        self.folder = folder
        write_folder(folder)
        checkpoint = open_checkpoint(str(folder))
        self.transform = checkpoint.image_processor.towers[0]
        self._pixels = PixelTable([tower.table for tower in checkpoint.image_processor.towers])
        torch.manual_seed(plan.seed)
        self.learner = Learner(folder, plan.branches)
        self._average = {name: value.detach().clone()
                         for name, value in self.learner.network.named_parameters()}
        decayed = [p for p in self.learner.parameters() if p.dim() > 1]
        others = [p for p in self.learner.parameters() if p.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [{'params': decayed, 'weight_decay': 0.02}, {'params': others, 'weight_decay': 0.0}],
            lr=plan.learning_rate, betas=(0.9, 0.98))
        self.step = 0
        self.curve: list[dict[str, float]] = []
        if self._state_file.is_file():
            self._resume()

    @property
    def _state_file(self) -> Path:
        return self.folder / 'training_state.pt'

    def run(self, samples: Samples, report: Report) -> None:
        """Train to the end of the plan, saving on the way."""
        while self.step < self.plan.steps:
            losses = self._advance(samples)
            self.curve.append(losses)
            report(self.step, losses)
            if self.step % _SAVE_EVERY == 0 or self.step == self.plan.steps:
                self.save()

    def save(self) -> None:
        """Write the checkpoint with the averaged weights, the state and the loss curve."""
        state = {'plan': asdict(self.plan), 'step': self.step, 'curve': self.curve,
                 'learner': self.learner.state_dict(), 'average': self._average,
                 'optimizer': self._optimizer.state_dict()}
        unfinished = self._state_file.with_suffix('.unfinished')
        torch.save(state, unfinished)
        unfinished.replace(self._state_file)
        current = {name: value.detach().clone()
                   for name, value in self.learner.network.named_parameters()}
        self._put(self._average)
        write_weights(self.learner.network, self.folder)
        self._put(current)
        draw_curve(self.curve, self.folder / 'loss.png')

    def _resume(self) -> None:
        state = torch.load(self._state_file, weights_only=True)
        if state['plan'] != asdict(self.plan):
            raise TrainingError(f'{self.folder} holds an interrupted training of another plan '
                                f'({state["plan"]}); give the same options or another folder')
        self.learner.load_state_dict(state['learner'])
        self._optimizer.load_state_dict(state['optimizer'])
        self._average, self.step, self.curve = state['average'], state['step'], state['curve']

    def _put(self, values: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.learner.network.named_parameters():
                parameter.copy_(values[name])

    def _advance(self, samples: Samples) -> dict[str, float]:
        plan = self.plan
        rng = np.random.default_rng([plan.seed, self.step])
        torch.manual_seed(int(rng.integers(2**62)))
        rows = np.sort(rng.choice(len(samples.images), plan.batch, replace=False))
        tasks = np.stack([self._choose_tasks(rng, samples, row) for row in rows])
        actions = samples.actions[rows[:, None], tasks]
        losses = self.learner(
            self._pixels(samples.images[rows], augment=True), torch.from_numpy(tasks),
            torch.from_numpy(actions), torch.from_numpy(samples.places[rows]),
            torch.from_numpy(samples.state[rows]))
        for group in self._optimizer.param_groups:
            group['lr'] = self._learning_rate()
        self._optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        keep = min(_AVERAGING, self.step / (self.step + 20))
        with torch.no_grad():
            for name, parameter in self.learner.network.named_parameters():
                self._average[name].lerp_(parameter, 1 - keep)
        return {name: float(getattr(losses, name).detach())
                for name in ('action', 'places', 'state', 'accuracy')}

    def _choose_tasks(self, rng: np.random.Generator, samples: Samples, row: int) -> np.ndarray:
        """Take the task around which the situation was drawn, and others that are possible."""
        possible = np.flatnonzero(~np.isnan(samples.actions[row, :, 0]))
        others = rng.permutation(possible[possible != samples.task[row]])
        return np.array([samples.task[row], *others[:self.plan.branches - 1]])

    def _learning_rate(self) -> float:
        plan = self.plan
        rise = min(1.0, (self.step + 1) / plan.warmup)
        return plan.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * self.step / plan.steps))


def draw_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Draw the action loss and the share of right tokens as a PNG."""
    width, height, margin = 800, 400, 40
    picture = Image.new('RGB', (width, height), 'white')
    draw = ImageDraw.Draw(picture)
    draw.rectangle((margin, margin, width - margin, height - margin), outline='black')
    for name, color, top in (('action', 'firebrick', max(x['action'] for x in curve)),
                             ('accuracy', 'steelblue', 1.0)):
        window = max(1, len(curve) // 200)
        values = np.array([x[name] for x in curve])[:len(curve) // window * window]
        means = values.reshape(-1, window).mean(1)
        x = margin + (width - 2 * margin) * (np.arange(len(means)) + 1) / len(means)
        y = height - margin - (height - 2 * margin) * means / top
        draw.line(list(zip(x.tolist(), y.tolist())), fill=color, width=2)
    draw.text((margin, 12), f'red: action loss, 0 to {max(x["action"] for x in curve):.2f}     '
              f'blue: tokens within 3 bins, 0 to 1     {len(curve)} steps', fill='black')
    picture.save(path)
