# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The training of the small model on samples that the expert has labelled."""

from dataclasses import dataclass
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.model.weights import load_weights
from vla_ros.training.layout import write_folder
from vla_ros.training.layout import write_weights
from vla_ros.training.learner import Learner
from vla_ros.training.learner import Losses
from vla_ros.training.learner import PixelTable
from vla_ros.training.resumable import check_folder
from vla_ros.training.resumable import read_tensors
from vla_ros.training.resumable import Report
from vla_ros.training.resumable import ResumableTraining
from vla_ros.training.samples import Samples
from vla_ros.util.progress import ignore_progress

if TYPE_CHECKING:
    from accelerate import Accelerator

_AVERAGING = 0.998
_REPORTED = ('action', 'keypoints', 'state', 'accuracy')


@dataclass(frozen=True)
class TrainingPlan:
    """
    What decides the result of a training.

    :param steps: optimizer steps; the learning rate falls to zero over them.
    :param batch: images in each step.
    :param branches: instructions for each image.
    :param samples: images drawn from the simulator.
    """

    steps: int = 6000
    batch: int = 32
    branches: int = 3
    samples: int = 20000
    learning_rate: float = 1.5e-3
    warmup: int = 150
    seed: int = 0

    def learning_rate_factor(self, step: int) -> float:
        """Return what the learning rate is multiplied by: a linear warmup, then a cosine."""
        rise = min(1.0, (step + 1) / self.warmup)
        return rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def choose_rows(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Choose the images of a step out of ``count``, int64 (batch,)."""
        return rng.choice(count, self.batch, replace=False)


class Training(ResumableTraining):
    """A learner, its optimizer and its moving average."""

    def __init__(self, plan: TrainingPlan, folder: Path, accelerator: 'Accelerator',
                 start: Path | None = None) -> None:
        """
        Start, or resume an interrupted training from its last save.

        :param folder: becomes the checkpoint.
        :param start: checkpoint to begin from; None: from nothing.
        :raises TrainingError: the folder holds a training of another plan.
        """
        super().__init__(plan, folder, accelerator)
        if accelerator.is_main_process:
            check_folder(folder)
            write_folder(folder)
        accelerator.wait_for_everyone()
        checkpoint = open_checkpoint(str(folder))
        self.transform = checkpoint.image_processor.towers[0]
        self._pixels = PixelTable([tower.table for tower in checkpoint.image_processor.towers])
        torch.manual_seed(plan.seed)
        self.learner = Learner(folder, plan.branches).on(accelerator.device)
        if start is not None:
            _load_start(self.learner, start)
        self._average = AveragedModel(self.learner.network, avg_fn=_average)
        self._average.update_parameters(self.learner.network)  # the first call copies
        decayed = [p for p in self.learner.parameters() if p.dim() > 1]
        others = [p for p in self.learner.parameters() if p.dim() <= 1]
        optimizer = torch.optim.AdamW(
            [{'params': decayed, 'weight_decay': 0.02}, {'params': others, 'weight_decay': 0.0}],
            lr=plan.learning_rate, betas=(0.9, 0.98))
        self.prepare(self.learner, optimizer, LambdaLR(optimizer, plan.learning_rate_factor))

    def run(self, samples: Samples, report: Report) -> None:
        """Train to the end of the plan, saving on the way."""
        self.train(lambda: self._advance(samples), report)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the parameters of the learner and the moving average of the network's."""
        return {**{f'learner.{name}': p for name, p in self.learner.named_parameters()},
                **{f'average.{name}': t for name, t in self._average.state_dict().items()}}

    def write(self) -> None:
        """Write the checkpoint, with the averaged weights."""
        write_weights(self._average.module, self.folder)

    def _advance(self, samples: Samples) -> dict[str, float]:
        rng = np.random.default_rng([self.plan.seed, self.step])
        torch.manual_seed(int(rng.integers(2**62)))
        rows = np.sort(self.plan.choose_rows(rng, len(samples.images)))
        tasks = np.stack([self._choose_tasks(rng, samples, row) for row in rows])
        # What is random is drawn for the whole batch, however it is divided.
        pixels = self._pixels(samples.images[rows], augment=True)
        actions = samples.actions[rows[:, None], tasks]
        keypoints = torch.from_numpy(samples.keypoints[rows])
        inputs = (pixels, torch.from_numpy(tasks), torch.from_numpy(actions), keypoints,
                  torch.from_numpy(samples.state[rows]), torch.randn(actions.shape))
        visible = float(self.learner.visible(keypoints).sum())
        count = self.plan.batch / len(rows[self.microbatches[0]])
        sums = dict.fromkeys(_REPORTED, 0.0)
        for part in self.microbatches:
            with self.accelerator.accumulate(self.model):
                losses: Losses = self.model(*(x[part].to(self.accelerator.device)
                                              for x in inputs))
                share = count * float(self.learner.visible(keypoints[part]).sum()) / visible
                losses = losses.balance(share)
                self.accelerator.backward(losses.total)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.learner.parameters(), 1.0)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
            for name in sums:
                sums[name] += float(getattr(losses, name).detach()) / len(self.microbatches)
        self._average.update_parameters(self.learner.network)
        return self.mean_over_processes(sums)

    def _choose_tasks(self, rng: np.random.Generator, samples: Samples, row: int) -> np.ndarray:
        """Choose the task of the sample, and others whose block is there."""
        possible = np.flatnonzero(~np.isnan(samples.actions[row, :, 0]))
        others = rng.permutation(possible[possible != samples.task[row]])
        return np.array([samples.task[row], *others[:self.plan.branches - 1]])


def _average(average: torch.Tensor, current: torch.Tensor,
             count: torch.Tensor | int) -> torch.Tensor:
    """Move an average; at first it follows quickly."""
    keep = min(_AVERAGING, float(count / (count + 20)))
    return average.lerp(current, 1 - keep)


def _load_start(learner: Learner, start: Path) -> None:
    """Load the averaged weights of a checkpoint, and its auxiliary heads if it has them."""
    tensors = read_tensors(start)
    if tensors is None:
        load_weights(learner.network, start, ignore_progress)
        return
    for module, prefix in ((learner, 'learner.'), (learner.network, 'average.module.')):
        module.load_state_dict({name.removeprefix(prefix): tensor
                                for name, tensor in tensors.items() if name.startswith(prefix)})
