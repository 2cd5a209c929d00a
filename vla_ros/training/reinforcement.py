# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Reinforcement learning: a policy gets better by its own episodes and their success.

In each iteration the policy meets new scenes, and some that it failed in lately. Where it fails, a
group of episodes is sampled, see :mod:`vla_ros.training.groups`, and compared, see
:mod:`vla_ros.training.grpo`; what succeeds earlier has the larger reward.
"""

from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
import time
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import save_file
import torch
from torch import nn
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from vla_ros.errors import VlaError
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.training.actor import ActionSpace
from vla_ros.training.actor import token_log_probs
from vla_ros.training.card import CHECKPOINT_FILES
from vla_ros.training.groups import Group
from vla_ros.training.groups import GroupSettings
from vla_ros.training.groups import RolloutPool
from vla_ros.training.grpo import Clipping
from vla_ros.training.grpo import group_advantages
from vla_ros.training.grpo import policy_loss
from vla_ros.training.reinforcement_plan import ReinforcementPlan
from vla_ros.training.resumable import check_folder
from vla_ros.training.resumable import Report
from vla_ros.training.resumable import ResumableTraining
from vla_ros.training.seeds import group_seed
from vla_ros.training.seeds import validation_seed
from vla_ros.training.trainable import IGNORED
from vla_ros.training.trainable import load_trainable
from vla_ros.training.trainable import pad
from vla_ros.training.trainable import TrainableVla
from vla_ros.training.trials import Trial
from vla_ros.worlds.outcomes import score

if TYPE_CHECKING:
    from accelerate import Accelerator

#: The rate of success on the scenes of validation; its largest value makes the best checkpoint.
CRITERION = 'validation'
# Groups in how many iterations before the scenes to be visited again come from.
_MEMORY = 8
# An arm at rest has failed after this many seconds: what it sees does not change any more.
_PATIENCE = 1.2
# In validation it has more, so that what counts there as failed would fail in vla_eval.
_VALIDATION_PATIENCE = 3.0
# Steps in which the learning rate rises to its value.
_WARMUP = 10


class _TokenLogProbs(nn.Module):
    """The trained network; gives the log-probability of each token of an action."""

    def __init__(self, vla: TrainableVla, temperature: float) -> None:
        super().__init__()
        self.vla = vla
        self._temperature = temperature

    def forward(self, pixels: Tensor, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Predict with the parameters of :meth:`TrainableVla.predict`; return float32 (B, D)."""
        logits, targets = self.vla.predict(pixels, input_ids, labels)
        return token_log_probs(logits / self._temperature, targets).view(len(pixels), -1)


@dataclass(frozen=True)
class Experience:
    """
    What an iteration is trained on; N actions of D dimensions.

    :param images: uint8 (N, S, S, 3).
    :param instructions: of each.
    :param tokens: int64 (N, D).
    :param log_probs: float32 (N, D), when they were sampled.
    :param valid: bool (N,).
    :param advantages: float32 (N,).
    """

    images: np.ndarray
    instructions: list[str]
    tokens: np.ndarray
    log_probs: np.ndarray
    valid: np.ndarray
    advantages: np.ndarray

    @classmethod
    def of(cls, groups: list[Group]) -> 'Experience | None':
        """Collect the groups that teach something; None if there are none."""
        pairs = [(one, advantage) for group in groups if group.is_mixed for one, advantage
                 in zip(group.members, group_advantages(group.rewards))]
        if not pairs:
            return None
        ones = [one for one, _ in pairs]
        counts = [len(one.tokens) for one in ones]
        return cls(np.concatenate([one.images for one in ones]),
                   [one.episode.task.instruction for one in ones for _ in one.tokens],
                   np.concatenate([one.tokens for one in ones]),
                   np.concatenate([one.log_probs for one in ones]),
                   np.concatenate([one.valid for one in ones]),
                   np.repeat([advantage for _, advantage in pairs], counts).astype(np.float32))


class Reinforcement(ResumableTraining):
    """Iterations of sampling and training; ``folder`` becomes the best checkpoint so far."""

    save_every = 1

    def __init__(self, plan: ReinforcementPlan, start: Path, folder: Path,
                 accelerator: 'Accelerator', workers: int, worlds: int,
                 log: Callable[[str], None]) -> None:
        """
        Start, or resume an interrupted training from its last save.

        :param start: the checkpoint to begin with.
        :param workers: processes that run episodes.
        :param worlds: of each process, all in one batched pass.
        :param log: called with a line for the user.
        :raises CheckpointError: it cannot be trained so.
        :raises TrainingError: the folder holds a training of another plan.
        """
        if accelerator.num_processes > 1:
            raise VlaError('--rl trains in one process, and the launcher started '
                           f'{accelerator.num_processes}; start it without a launcher, its '
                           'episodes run in --workers processes')
        super().__init__(plan, folder, accelerator)
        self._log = log
        checkpoint = open_checkpoint(str(start))
        self.space = ActionSpace(checkpoint)
        check_folder(folder)
        self._copy(checkpoint.folder)
        config, device = checkpoint.config, accelerator.device
        vla = load_trainable(config, checkpoint.folder, device, torch.float32)
        self._reference = None
        if plan.kl:
            self._reference = _TokenLogProbs(load_trainable(
                config, checkpoint.folder, device, torch.float32), plan.temperature)
        self.network = _TokenLogProbs(vla.requires_grad_(True), plan.temperature)
        self._trained = dict(vla.named_parameters())
        optimizer = torch.optim.AdamW(self._trained.values(), lr=plan.learning_rate,
                                      betas=(0.9, 0.95), weight_decay=0.0)
        self.prepare(self.network, optimizer, LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / _WARMUP)))
        self._pool = RolloutPool(str(checkpoint.folder), workers, worlds)

    def run(self, report: Report) -> None:
        """Train to the end of the plan, saving in each iteration."""
        try:
            if self.plan.validation and not (self.folder / _record(0)).is_file():
                self._validate(0)
            self.train(self._advance, report)
        finally:
            self._pool.close()

    def tensors(self) -> dict[str, Tensor]:
        """Return all parameters, under their official keys."""
        return self._trained

    def is_best(self) -> bool:
        """Return whether the last iteration was validated and is the best one so far."""
        rates = [row[CRITERION] for row in self.curve]
        return bool(rates) and not np.isnan(rates[-1]) and rates[-1] >= np.nanmax(rates)

    def write(self) -> None:
        """Write the weights; with validation the best ones."""
        if self.plan.validation and not self.is_best():
            return
        save_file({name: tensor.detach().to(torch.bfloat16).cpu().contiguous()
                   for name, tensor in self._trained.items()},
                  self.folder / 'model.safetensors', {'format': 'pt'})

    def trials(self) -> list[Trial]:
        """Choose the scenes of this iteration: some that the policy failed in, and new ones."""
        plan, rng = self.plan, np.random.default_rng([37, self.plan.seed, self.step])
        failed = self._failed()
        chosen = rng.choice(len(failed), min(len(failed), plan.revisited), replace=False) \
            if failed else []
        scenes = [failed[index] for index in chosen]
        for index in range(plan.scenes):
            # The count goes on over all iterations, so that every task has its turn.
            scenes.append((group_seed(plan.seed, self.step, index),
                           plan.task(self.step * plan.scenes + index)))
        return [Trial(scene, task, self.step * (plan.size + 1), patience=_PATIENCE)
                for scene, task in scenes]

    def loss(self, experience: Experience, rows: np.ndarray) -> Any:
        """Return the :class:`PolicyLoss` of some actions."""
        device = self.accelerator.device
        inputs = [x.to(device) for x in self._inputs(experience, rows)]
        new = self.model(*inputs)
        reference = None
        if self._reference is not None:
            with torch.no_grad():
                reference = self._reference(*inputs)
        old = torch.from_numpy(experience.log_probs[rows]).to(device)
        valid = torch.from_numpy(experience.valid[rows]).to(device)[:, None].expand_as(old)
        clipping = Clipping(self.plan.clip_low, self.plan.clip_high, self.plan.kl)
        return policy_loss(new, old, torch.from_numpy(experience.advantages[rows]).to(device),
                           valid, clipping, reference)

    def _inputs(self, experience: Experience, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Return pixels, token ids and labels, see :meth:`TrainableVla.predict`."""
        encoder = self.space.encoder
        prompts = [list(encoder.prompt(experience.instructions[row])) for row in rows]
        tokens = experience.tokens[rows].tolist()
        ids = [prompt + action for prompt, action in zip(prompts, tokens)]
        labels = [[IGNORED] * len(prompt) + action for prompt, action in zip(prompts, tokens)]
        return (self.space.pixels(experience.images[rows], augment=False),
                pad(ids, encoder.end), pad(labels, IGNORED))

    def _advance(self) -> dict[str, float]:
        began = time.monotonic()
        plan = self.plan
        groups = self._pool.run(
            self._weights(), self.trials(),
            GroupSettings(plan.size, plan.sampled, plan.temperature, plan.seconds))
        rolled = time.monotonic()
        experience = Experience.of(groups)
        losses = {'action': 0.0, 'clipped': 0.0, 'divergence': 0.0}
        if experience is not None:
            losses |= self._learn(experience)
        learnt = time.monotonic()
        validation = float('nan')
        done = self.step + 1
        failed = [group for group in groups if group.members]
        self._write_record(done, {'groups': [
            [group.greedy.trial.scene, group.greedy.trial.task, group.successes,
             len(group.members)] for group in failed]})
        if plan.validation and (done % plan.validate_every == 0 or done == plan.steps):
            validation = self._validate(done)
        new = groups[-plan.scenes:]
        succeeded = sum(group.greedy.episode.succeeded for group in new)
        mixed = sum(group.is_mixed for group in failed)
        actions = 0 if experience is None else len(experience.tokens)
        self._log(f'iteration {done}/{plan.steps}: {succeeded} of {len(new)} new scenes '
                  f'succeeded, {mixed} of {len(failed)} groups mixed, {actions} actions, '
                  f'{rolled - began:.0f} s of rollouts, {learnt - rolled:.0f} s of training')
        return {'reward': succeeded / len(new), **losses, CRITERION: validation}

    def _learn(self, experience: Experience) -> dict[str, float]:
        """Train on the actions, in random order; return the means of the losses."""
        rng = np.random.default_rng([41, self.plan.seed, self.step])
        sums = {'action': 0.0, 'clipped': 0.0, 'divergence': 0.0}
        batches = [batch for _ in range(self.plan.passes) for batch in self._batches(
            rng.permutation(len(experience.tokens)))]
        for rows in batches:
            for part in self.microbatches:
                with self.accelerator.accumulate(self.model):
                    found = self.loss(experience, rows[part])
                    self.accelerator.backward(found.loss)
                    if self.accelerator.sync_gradients:
                        self.accelerator.clip_grad_norm_(self._trained.values(), 1.0)
                    self.optimizer.step()
                    self.scheduler.step()
                    self.optimizer.zero_grad()
                for name, value in (('action', found.loss), ('clipped', found.clipped),
                                    ('divergence', found.divergence)):
                    sums[name] += float(value.detach()) / len(self.microbatches) / len(batches)
        return sums

    def _batches(self, order: np.ndarray) -> list[np.ndarray]:
        """Cut actions into batches of one size; what is left over at the end is left out."""
        size = self.plan.batch
        if len(order) < size:
            return [np.resize(order, size)]
        return [order[start:start + size] for start in range(0, len(order) - size + 1, size)]

    def _validate(self, step: int) -> float:
        """Run the held-out scenes without sampling; return the rate of success."""
        plan = self.plan
        trials = [Trial(validation_seed(plan.seed, index), plan.task(index),
                        patience=_VALIDATION_PATIENCE) for index in range(plan.validation)]
        groups = self._pool.run(self._weights(), trials, None)
        rows = score([group.greedy.episode for group in groups])
        self._log(f'validation after {step}: ' + ' '.join(
            f'{row["task"]} {row["successes"]}/{row["episodes"]}'
            for row in (*rows['rows'], rows['all'])))
        record = self._read_record(step) | {'validation': {
            row['task']: [row['successes'], row['episodes']]
            for row in (*rows['rows'], rows['all'])}}
        self._write_record(step, record)
        return float(rows['all']['successes'] / rows['all']['episodes'])

    def _weights(self) -> dict[str, np.ndarray]:
        return {name: tensor.detach().cpu().numpy() for name, tensor in self._trained.items()}

    def _failed(self) -> list[tuple[int, int]]:
        """Return scene and task of the failures of late, as they were the last time."""
        found: dict[tuple[int, int], bool] = {}
        for step in range(max(1, self.step - _MEMORY + 1), self.step + 1):
            for scene, task, successes, size in self._read_record(step).get('groups', ()):
                found[scene, task] = successes > 0
        # Where no member has succeeded there is nothing to learn.
        return [key for key, is_useful in found.items() if is_useful]

    def _read_record(self, step: int) -> dict[str, Any]:
        path = self.folder / _record(step)
        if not path.is_file():
            return {}
        record: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        return record

    def _write_record(self, step: int, record: dict[str, Any]) -> None:
        path = self.folder / _record(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record) + '\n', encoding='utf-8')

    def _copy(self, start: Path) -> None:
        """Copy everything of the checkpoint but its weights and its curve."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in CHECKPOINT_FILES:
            if name not in ('model.safetensors', 'loss.png') and (start / name).is_file():
                shutil.copyfile(start / name, self.folder / name)


def _record(step: int) -> str:
    return f'iterations/{step:04d}.json'
