# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Rounds of DAgger: the model plays, the expert corrects, the training goes on with both."""

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
import shutil

import numpy as np

from vla_ros.policy import load_policy
from vla_ros.policy import PolicyConfig
from vla_ros.sim.score import score
from vla_ros.training.card import CHECKPOINT_FILES
from vla_ros.training.loop import Training
from vla_ros.training.loop import TrainingPlan
from vla_ros.training.resumable import Report
from vla_ros.training.resumable import TrainingError
from vla_ros.training.rollouts import roll_out
from vla_ros.training.rollouts import Rollouts
from vla_ros.training.samples import Samples
from vla_ros.training.team import Team


@dataclass(frozen=True)
class DaggerPlan:
    """
    What decides the result of the rounds, beside the checkpoint they begin with.

    :param rounds: how often the model plays.
    :param episodes: in each round.
    :param steps: optimiser steps in each round.
    :param share: part of each batch that is taken from the episodes of all rounds so far.
    :param drawn: number of samples that were drawn; the rest of each batch is taken from them.
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
    """The plan of one round; ``samples`` of its pictures were drawn, the others played."""

    share: float = 0.4

    def choose_rows(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Take the share of the played ones; see the base."""
        played = round(self.share * self.batch)
        return np.concatenate([
            rng.choice(self.samples, self.batch - played, replace=False),
            self.samples + rng.choice(count - self.samples, played, replace=False)])


def run_rounds(plan: DaggerPlan, start: Path, out: Path, drawn: Samples, workers: int,
               say: Callable[[str], None], report: Callable[[Training], Report],
               team: Team = Team()) -> None:
    """
    Run the rounds, or what is left of them, and leave the last one's checkpoint in ``out``.

    :param start: the checkpoint that plays first.
    :param out: the rounds are folders in it, kept to go on after an interruption.
    :param drawn: samples drawn from the simulator.
    :param workers: processes that play.
    :param say: told what happens.
    :param report: makes what is told of each step of a round's training.
    :param team: who trains; its leader plays.
    :raises CheckpointError: ``start`` is not a checkpoint.
    :raises TrainingError: ``out`` holds rounds of another plan.
    """
    team.leader_first(lambda: _check_plan(plan, start, out))
    if not team.is_leader:
        def say(line: str) -> None:
            pass
    collected = [drawn]
    for number in range(1, plan.rounds + 1):
        folder = out / f'round_{number}'
        say(f'round {number}/{plan.rounds}: {plan.episodes} episodes of {start}')
        played = team.leader_first(lambda: roll_out(
            start, folder / 'episodes', plan.seed, number, plan.episodes, workers,
            lambda done: say(f'episodes {done}/{plan.episodes}')))
        say(f'round {number}/{plan.rounds}: {describe(played)}')
        collected.append(played.samples)
        training = Training(
            RoundPlan(steps=plan.steps, batch=plan.batch, samples=len(drawn.images),
                      learning_rate=plan.learning_rate, seed=plan.seed + 1000 * number,
                      share=plan.share), folder, start, team)
        if training.step < plan.steps:
            training.run(Samples.join(collected), report(training))
        team.wait()
        start = folder
    if team.is_leader:
        for name in CHECKPOINT_FILES:
            shutil.copyfile(start / name, out / name)


def describe(played: Rollouts) -> str:
    """Sum up how a model did, with and without disturbance."""
    sentences = []
    for name, disturbed in (('undisturbed', False), ('disturbed', True)):
        chosen = [episode for episode, was in zip(played.episodes, played.disturbed)
                  if was == disturbed]
        rows = (f'{row["task"]} {row["successes"]}/{row["episodes"]}'
                for row in score(chosen)['rows'])
        sentences.append(f'{name} {" ".join(rows) or "none"}')
    return f'{"; ".join(sentences)}; {len(played.samples.images)} situations'


def _check_plan(plan: DaggerPlan, start: Path, out: Path) -> None:
    """Keep the plan beside the rounds; more rounds may be added to it."""
    # Who cannot play is told so here: what a worker cannot load breaks its pool without a word.
    load_policy(PolicyConfig(str(start), device='cpu'))
    out.mkdir(parents=True, exist_ok=True)
    path = out / 'rounds.json'
    asked = {**asdict(plan), 'start': str(start.resolve())}
    if path.is_file():
        kept = json.loads(path.read_text(encoding='utf-8'))
        if {**kept, 'rounds': plan.rounds} != asked:
            raise TrainingError(f'{out} holds rounds of another plan ({kept}); give the same '
                                'options or another folder')
    path.write_text(json.dumps(asked, indent=2) + '\n', encoding='utf-8')
