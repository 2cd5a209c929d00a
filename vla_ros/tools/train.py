# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_train``: train the small model on the simulator's expert."""

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import sys
import time

from vla_ros.tools.command_line import run_tool

# A thread that spins while it waits for the other is slower wherever cores are shared.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_train', lambda: train(arguments))


def train(arguments: argparse.Namespace) -> int:
    """Draw the samples, train, write the checkpoint."""
    import torch
    from vla_ros.training.loop import draw_samples
    from vla_ros.training.loop import Training
    from vla_ros.training.loop import TrainingPlan
    torch.set_num_threads(arguments.threads)
    plan = TrainingPlan(steps=arguments.steps, batch=arguments.batch, samples=arguments.samples,
                        learning_rate=arguments.learning_rate, seed=arguments.seed)
    training = Training(plan, Path(arguments.out))
    samples = draw_samples(
        Path(arguments.data), plan.samples, training.transform,
        lambda count: print(f'samples {count}/{plan.samples}', flush=True))
    started, first = time.monotonic(), training.step

    def report(step: int, losses: dict[str, float]) -> None:
        if step % 20 == 0:
            rate = (step - first) / (time.monotonic() - started)
            shown = ' '.join(f'{name} {value:.3f}' for name, value in losses.items())
            print(f'step {step}/{plan.steps} {shown} {rate:.2f}/s '
                  f'{(plan.steps - step) / rate / 60:.0f} min left', flush=True)

    training.run(samples, report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='vla_train', description=__doc__)
    parser.add_argument('--out', required=True, metavar='DIR',
                        help='becomes the checkpoint; an interrupted training goes on there')
    parser.add_argument('--data', required=True, metavar='DIR',
                        help='keeps the samples that were drawn')
    parser.add_argument('--samples', type=int, default=20000, metavar='N')
    parser.add_argument('--steps', type=int, default=6000, metavar='N')
    parser.add_argument('--batch', type=int, default=32, metavar='N')
    parser.add_argument('--learning-rate', type=float, default=1.5e-3, metavar='RATE')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2, metavar='N')
    return parser


if __name__ == '__main__':
    sys.exit(main())
