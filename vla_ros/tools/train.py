# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_train``: train the small model on the simulator's expert."""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from importlib.util import find_spec
import os
from pathlib import Path
import sys
import time
from typing import Any

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.tools.command_line import run_tool
from vla_ros.training.seeds import LARGEST_SEED

# A thread that spins while it waits for the other is slower wherever cores are shared.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

#: Options that count something.
_COUNTS = ('samples', 'steps', 'batch', 'threads', 'episodes', 'workers', 'lora_rank')

Report = Callable[[int, dict[str, float]], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_train', lambda: train(arguments))


def train(arguments: argparse.Namespace) -> int:
    """Do what the options ask for."""
    _check_numbers(arguments)
    if arguments.ship:
        return _ship(arguments)
    for name in ('mujoco', 'matplotlib', 'torch'):
        if find_spec(name) is None:
            raise UnsupportedError('training', f'{name} is not installed', f'pip install {name}')
    if arguments.finetune:
        _demand(arguments, 'dataset')
    if arguments.record:
        return _record(arguments)
    import torch
    torch.set_num_threads(arguments.threads)
    if arguments.dataset:
        _learn_recorded(arguments)
    elif arguments.dagger:
        _play_and_correct(arguments)
    else:
        _clone(arguments)
    return 0


def _clone(arguments: argparse.Namespace) -> None:
    """Train on drawn situations."""
    from vla_ros.training.loop import Training
    from vla_ros.training.loop import TrainingPlan
    _demand(arguments, 'out', 'data')
    plan = TrainingPlan(steps=arguments.steps or 6000, batch=arguments.batch,
                        samples=arguments.samples,
                        learning_rate=arguments.learning_rate or 1.5e-3, seed=arguments.seed)
    team = _team(arguments)
    training = Training(plan, Path(arguments.out), team=team)
    training.run(_draw(arguments, team), progress_line(training.step, plan.steps))


def _play_and_correct(arguments: argparse.Namespace) -> None:
    """Go on from a checkpoint with rounds of DAgger."""
    from vla_ros.training.dagger import DaggerPlan
    from vla_ros.training.dagger import run_rounds
    _demand(arguments, 'out', 'data', 'start')
    plan = DaggerPlan(
        rounds=arguments.dagger, episodes=arguments.episodes, steps=arguments.steps or 1500,
        batch=arguments.batch, learning_rate=arguments.learning_rate or 7e-4,
        drawn=arguments.samples, seed=arguments.seed)
    team = _team(arguments)
    run_rounds(plan, Path(arguments.start), Path(arguments.out), _draw(arguments, team),
               arguments.workers, lambda line: print(line, flush=True),
               lambda training: progress_line(training.step, plan.steps), team)


def _record(arguments: argparse.Namespace) -> int:
    """Write the expert's demonstrations as a dataset."""
    from vla_ros.training.record import record
    record(Path(arguments.record), arguments.episodes, arguments.seed,
           lambda done: print(f'episodes {done}/{arguments.episodes}', flush=True))
    return 0


def _ship(arguments: argparse.Namespace) -> int:
    """Make what ships of a checkpoint."""
    from vla_ros.training.card import ship
    from vla_ros.training.card import Story
    _demand(arguments, 'out', 'eval', 'commands', 'took')
    story = Story(arguments.commands, arguments.took, arguments.machine, arguments.about)
    size = ship(Path(arguments.ship), Path(arguments.out), Path(arguments.eval), story)
    print(f'{arguments.out}: {size / 2**20:.1f} MiB')
    return 0


def _learn_recorded(arguments: argparse.Namespace) -> None:
    """Train on a dataset: an adapter for a checkpoint, or the small model."""
    from vla_ros.model.checkpoint import open_checkpoint
    from vla_ros.training.dataset import LeRobotDataset
    from vla_ros.training.tuning import start_small
    from vla_ros.training.tuning import Tuning
    from vla_ros.training.tuning import TuningPlan
    _demand(arguments, 'out')
    team, out = _team(arguments), Path(arguments.out)
    dataset = LeRobotDataset(Path(arguments.dataset), arguments.camera)
    checkpoint = (open_checkpoint(arguments.finetune) if arguments.finetune else
                  team.leader_first(lambda: start_small(dataset, out)))
    plan = TuningPlan(
        steps=arguments.steps or (1000 if arguments.finetune else 6000), batch=arguments.batch,
        learning_rate=arguments.learning_rate or 5e-4, seed=arguments.seed,
        rank=arguments.lora_rank if arguments.finetune else 0)
    training = Tuning(plan, checkpoint, dataset, out, team)
    training.run(progress_line(training.step, plan.steps))


def _team(arguments: argparse.Namespace) -> Any:
    """Find out who trains, and how."""
    from vla_ros.training.team import join_team
    return join_team(arguments.device, arguments.precision, arguments.accumulate)


def _draw(arguments: argparse.Namespace, team: Any) -> Any:
    """Draw the samples, or read those that were drawn."""
    from vla_ros.training.layout import small_transform
    from vla_ros.training.shards import draw_samples

    def report(count: int) -> None:
        if team.is_leader:
            print(f'samples {count}/{arguments.samples}', flush=True)
    return team.leader_first(lambda: draw_samples(
        Path(arguments.data), arguments.samples, small_transform(), report))


def progress_line(first: int, steps: int) -> Report:
    """
    Print how a training goes, every 20 steps.

    :param first: step at which it begins or goes on.
    """
    started = time.monotonic()

    def report(step: int, losses: dict[str, float]) -> None:
        if step % 20 == 0 or step == steps:
            rate = (step - first) / (time.monotonic() - started)
            shown = ' '.join(f'{name} {value:.3f}' for name, value in losses.items())
            print(f'step {step}/{steps} {shown} {rate:.2f}/s '
                  f'{(steps - step) / rate / 60:.0f} min left', flush=True)
    return report


def _check_numbers(arguments: argparse.Namespace) -> None:
    """
    Check what no training can use.

    :raises ParameterError: a number is too small or too large.
    """
    for name in _COUNTS:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ParameterError(f'--{name.replace("_", "-")}', value, 'at least 1')
    if arguments.dagger < 0:
        raise ParameterError('--dagger', arguments.dagger, 'a number of rounds')
    if not 0 <= arguments.seed <= LARGEST_SEED:
        raise ParameterError('--seed', arguments.seed, f'a whole number from 0 to {LARGEST_SEED}')
    rate = arguments.learning_rate
    if rate is not None and not 0.0 < rate < 1.0:
        raise ParameterError('--learning-rate', rate, 'above 0 and below 1')


def _demand(arguments: argparse.Namespace, *names: str) -> None:
    """
    Check that what this use needs was given.

    :raises ParameterError: it was not.
    """
    for name in names:
        if not getattr(arguments, name):
            raise ParameterError(f'--{name}', getattr(arguments, name), 'given here')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='vla_train', description=__doc__)
    parser.add_argument('--out', metavar='DIR',
                        help='becomes the checkpoint; an interrupted training goes on there')
    parser.add_argument('--data', metavar='DIR', help='keeps the samples that were drawn')
    parser.add_argument('--samples', type=int, default=20000, metavar='N',
                        help='situations drawn from the simulator (default: %(default)s)')
    parser.add_argument('--steps', type=int, metavar='N',
                        help='optimiser steps (default: 6000; 1500 in each round of --dagger)')
    parser.add_argument('--batch', type=int, default=32, metavar='N',
                        help='pictures in each step (default: %(default)s)')
    parser.add_argument('--learning-rate', type=float, metavar='RATE',
                        help='at its highest (default: 1.5e-3; 7e-4 with --dagger)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2, metavar='N')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--precision', choices=('float32', 'bf16'), default='float32',
                        help='of the products; weights and sums stay float32')
    parser.add_argument('--accumulate', type=int, default=1, metavar='K',
                        help='compute each batch in K parts, one after the other, to save memory')
    dagger = parser.add_argument_group('rounds in which the model plays and the expert corrects')
    dagger.add_argument('--dagger', type=int, default=0, metavar='ROUNDS')
    dagger.add_argument('--start', metavar='DIR', help='the checkpoint that plays first')
    dagger.add_argument('--episodes', type=int, default=240, metavar='N',
                        help='in each round, or to be recorded (default: %(default)s)')
    dagger.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)), metavar='N',
                        help='processes that play (default: the cores)')
    recording = parser.add_argument_group("the expert's demonstrations as a LeRobot dataset")
    recording.add_argument('--record', metavar='DIR', help='writes --episodes of them')
    recorded = parser.add_argument_group('training on recorded data instead')
    recorded.add_argument('--dataset', metavar='DIR', help='a LeRobot dataset, v2.0 to v3.0')
    recorded.add_argument('--camera', metavar='NAME', default='',
                          help='its feature with the pictures (default: the first one)')
    recorded.add_argument('--finetune', metavar='CHECKPOINT',
                          help='train a LoRA adapter of it, in --out (default: the small model '
                               'from nothing)')
    recorded.add_argument('--lora-rank', type=int, default=32, metavar='R')
    ship = parser.add_argument_group('what ships of a checkpoint, with its card, in --out')
    ship.add_argument('--ship', metavar='DIR', help='the checkpoint')
    ship.add_argument('--eval', metavar='FILE', help='what vla_eval --json printed')
    ship.add_argument('--commands', metavar='TEXT', help='how it was trained')
    ship.add_argument('--took', metavar='TEXT', help='how long that took')
    ship.add_argument('--machine', metavar='TEXT', default='', help='on what (default: this one)')
    ship.add_argument('--about', metavar='TEXT', help='its data (default: %(default)s)',
                      default='situations drawn from the simulator and episodes of the model '
                              'itself, labelled by the scripted expert; seed 0')
    return parser


if __name__ == '__main__':
    sys.exit(main())
