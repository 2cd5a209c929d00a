# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Rounds of DAgger: rollouts of the model, labelled by the expert, join the training data."""

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
from typing import TYPE_CHECKING

import numpy as np

from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.training.card import CHECKPOINT_FILES
from vla_ros.training.loop import Training
from vla_ros.training.loop import TrainingPlan
from vla_ros.training.resumable import check_folder
from vla_ros.training.resumable import Report
from vla_ros.training.resumable import TrainingError
from vla_ros.training.rollouts import roll_out
from vla_ros.training.rollouts import Rollouts
from vla_ros.training.samples import Samples
from vla_ros.worlds.outcomes import score

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class DaggerPlan:
    """
    What decides the result of the rounds, beside the checkpoint they begin with.

    :param rounds: of rollouts and training.
    :param episodes: in each round.
    :param steps: optimizer steps in each round.
    :param share: part of each batch that comes from the rollouts of all rounds so far.
    :param drawn: number of drawn samples, from which the rest of each batch comes.
    """

    rounds: int = 3
    episodes: int = 240
    steps: int = 1500
    share: float = 0.4
    batch: int = 32
    learning_rate: float = 7e-4
    drawn: int = 20000
    seed: int = 0


@dataclass(frozen=True)
class RoundPlan(TrainingPlan):
    """The plan of one round; ``samples`` of its images were drawn, the others are of rollouts."""

    share: float = 0.4

    def choose_rows(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Choose drawn samples and the share of rollouts; see the base."""
        rollouts = round(self.share * self.batch)
        return np.concatenate([
            rng.choice(self.samples, self.batch - rollouts, replace=False),
            self.samples + rng.choice(count - self.samples, rollouts, replace=False)])


def run_rounds(plan: DaggerPlan, start: Path, out: Path, drawn: Samples, workers: int,
               log: Callable[[str], None], report: Callable[[Training], Report],
               accelerator: 'Accelerator') -> None:
    """
    Run the rounds, or what is left of them, and leave the last one's checkpoint in ``out``.

    :param start: the checkpoint of the first rollouts.
    :param out: holds a folder for each round, so that an interrupted run goes on.
    :param drawn: samples drawn from the simulator.
    :param workers: processes that run episodes.
    :param log: called with a line for the user.
    :param report: makes the ``Report`` of a round's training.
    :param accelerator: its main process runs the episodes.
    :raises CheckpointError: ``start`` is not a checkpoint.
    :raises TrainingError: ``out`` holds rounds of another plan.
    """
    with accelerator.main_process_first():
        _check_plan(plan, start, out)
    if not accelerator.is_main_process:
        def log(line: str) -> None:
            pass
    collected = [drawn]
    for number in range(1, plan.rounds + 1):
        folder = out / f'round_{number}'
        log(f'round {number}/{plan.rounds}: {plan.episodes} episodes of {start}')
        with accelerator.main_process_first():
            rollouts = roll_out(start, folder / 'episodes', plan.seed, number, plan.episodes,
                                workers,
                                lambda done: log(f'episodes {done}/{plan.episodes}'))
        log(f'round {number}/{plan.rounds}: {describe(rollouts)}')
        collected.append(rollouts.samples)
        training = Training(
            RoundPlan(steps=plan.steps, batch=plan.batch, samples=len(drawn.images),
                      learning_rate=plan.learning_rate, seed=plan.seed + 1000 * number,
                      share=plan.share), folder, accelerator, start)
        if training.step < plan.steps:
            training.run(Samples.join(collected), report(training))
        accelerator.wait_for_everyone()
        start = folder
    if accelerator.is_main_process:
        for name in CHECKPOINT_FILES:
            shutil.copyfile(start / name, out / name)


def describe(rollouts: Rollouts) -> str:
    """Summarise success rates, with and without perturbation."""
    lines = []
    for name, disturbed in (('undisturbed', False), ('disturbed', True)):
        chosen = [episode for episode, was in zip(rollouts.episodes, rollouts.disturbed)
                  if was == disturbed]
        rows = (f'{row["task"]} {row["successes"]}/{row["episodes"]}'
                for row in score(chosen)['rows'])
        lines.append(f'{name} {" ".join(rows) or "none"}')
    return f'{"; ".join(lines)}; {len(rollouts.samples.images)} labelled states'


def _check_plan(plan: DaggerPlan, start: Path, out: Path) -> None:
    """Save the plan, or compare it with the saved one; more rounds may be added."""
    # Loaded here once, for a clear error: a worker that cannot load it breaks its pool silently.
    load_policy(PolicyConfig(str(start), device='cpu'))
    out.mkdir(parents=True, exist_ok=True)
    path = out / 'rounds.json'
    if not path.is_file():
        check_folder(out)
    asked = {**asdict(plan), 'start': str(start.resolve())}
    if path.is_file():
        kept = json.loads(path.read_text(encoding='utf-8'))
        if {**kept, 'rounds': plan.rounds} != asked:
            raise TrainingError(f'{out} holds rounds of another plan ({kept}); give the same '
                                'options or another folder')
    path.write_text(json.dumps(asked, indent=2) + '\n', encoding='utf-8')
