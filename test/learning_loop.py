# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The learning loop in the simulator, over ROS topics: record, take over, fine-tune, prove it.

    python test/learning_loop.py FOLDER

It weakens the checkpoint that ships, records its episodes with a scripted operator who takes over
(vla_record), converts and checks them (vla_dataset), trains an adapter on the interventions alone
(vla_train), and compares the result with the weak checkpoint on unseen seeds
(vla_eval --against). A step whose result is in FOLDER is not done again. Exit status 1: less than
20 percentage points were gained.
"""

import argparse
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time

from loop_operator import RecordedRunner
from loop_operator import TeleoperatedPair
from safetensors.torch import load_file
from safetensors.torch import save_file
import torch

from vla_ros.cli.eval import plan_episodes
from vla_ros.evaluation.comparison import compare_rows
from vla_ros.evaluation.pair import shipped_checkpoint
from vla_ros.training.layout import DATASET
from vla_ros.transport.local_environment import demo_environment

#: Seeds of the recorded episodes, and of those on which the checkpoints are compared.
RECORDED_SEED, UNSEEN_SEED = 50000, 40000
WANTED = 0.2
_SIMULATOR = (sys.executable, str(Path(__file__).with_name('state_sim.py')))


def weaken(out, noise):
    """
    Copy the checkpoint that ships, its matrices blurred.

    :param noise: standard deviation of what is added, in those of each matrix.
    """
    shutil.copytree(shipped_checkpoint(), out)
    weights, random = load_file(out / 'model.safetensors'), torch.Generator().manual_seed(0)
    for name in sorted(weights):
        matrix = weights[name].float()
        if matrix.dim() >= 2:
            blur = torch.randn(matrix.shape, generator=random)
            weights[name] = (matrix + noise * matrix.std() * blur).to(weights[name].dtype)
    save_file(weights, out / 'model.safetensors', {'format': 'pt'})


def record(checkpoint, folder, episodes, jobs):
    """Record episodes, and return their results."""
    environment = {**os.environ, **demo_environment(os.environ), 'OMP_NUM_THREADS': '1'}
    plan = plan_episodes(episodes, RECORDED_SEED, None)

    def report(episode):
        print(f'{len(runner.episodes)}/{episodes}: {episode.task.instruction}: '
              f'{"success" if episode.succeeded else "failure"} after {episode.seconds:.1f} s, '
              f'{sum(runner.takeovers.values())} takeovers so far', flush=True)
    pair = TeleoperatedPair(str(checkpoint), 10.0, 0.15, sim=_SIMULATOR)
    runner = RecordedRunner(pair, plan, folder / 'bags', report)
    runner.run(jobs, folder / 'logs', environment)
    return {'episodes': len(runner.episodes), 'takeovers': sum(runner.takeovers.values()),
            'successes': sum(episode.succeeded for episode in runner.episodes),
            'holds': dict(runner.holds)}


def tool(name, *words, output=None):
    """Run a command of this package, which must succeed."""
    print(f'$ vla_{name} {" ".join(map(str, words))}', flush=True)
    subprocess.run([sys.executable, '-m', f'vla_ros.cli.{name}', *map(str, words)], check=True,
                   stdout=output)


class Loop:
    """The steps, each timed and done once."""

    def __init__(self, arguments):
        self.folder = Path(arguments.folder)
        self.arguments = arguments
        self.folder.mkdir(parents=True, exist_ok=True)
        self._done = self.folder / 'steps.json'
        self.results = json.loads(self._done.read_text()) if self._done.is_file() else {}

    def run(self):
        """Run all steps; return the gain as a fraction."""
        folder, options = self.folder, self.arguments
        weak, bags, tuned = folder / 'weak', folder / 'bags', folder / 'tuned'
        dataset, adapter, found = folder / 'dataset', folder / 'adapter', folder / 'eval.json'
        self.step('weaken', [weak], lambda: weaken(weak, options.noise))
        self.step('record', [bags, folder / 'logs'],
                  lambda: record(weak, folder, options.episodes, options.jobs))
        episodes = sorted(bags.glob('*/episode_*'))
        self.step('convert', [dataset], lambda: tool(
            'dataset', 'convert', *episodes, '--out', dataset, '--storage', 'images'))
        self.step('check', [], lambda: tool(
            'dataset', 'check', *episodes, dataset, '--robot', 'six_axis_arm', '--html',
            folder / 'check.html', '--no-images'))
        self.step('train', [adapter, tuned], lambda: self.train(weak, dataset, adapter, tuned))
        self.step('eval', [], lambda: self.compare(tuned, weak, found))
        result = json.loads(found.read_text())['difference']
        print('\n'.join(compare_rows(result)))
        return result['all']['difference']

    def train(self, weak, dataset, adapter, tuned):
        """Train an adapter on the interventions, and merge it."""
        options = self.arguments
        tool('train', '--dataset', dataset, '--finetune', weak, '--out', adapter, '--only',
             'interventions', '--unnorm-key', DATASET, '--steps', options.steps, '--batch', 32,
             '--learning-rate', options.learning_rate, '--validation', 0.1,
             '--validate-every', 20, '--device', 'cpu')
        tool('train', '--merge', adapter, '--finetune', weak, '--out', tuned)

    def compare(self, tuned, weak, found):
        """Evaluate both on unseen seeds."""
        with found.open('wb') as output:
            tool('eval', '--checkpoint', tuned, '--against', weak, '--episodes',
                 self.arguments.compared, '--seed', UNSEEN_SEED, '--jobs', self.arguments.jobs,
                 '--json', output=output)

    def step(self, name, results, run):
        """Run a step unless it is done; remove the output of an interrupted one."""
        if name in self.results:
            return
        for path in results:
            shutil.rmtree(path, ignore_errors=True)
        began = time.monotonic()
        facts = run() or {}
        self.results[name] = {**facts, 'seconds': round(time.monotonic() - began)}
        print(f'{name}: {self.results[name]}', flush=True)
        self._done.write_text(json.dumps(self.results, indent=1) + '\n')


def main():
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', metavar='FOLDER')
    parser.add_argument('--episodes', type=int, default=60, help='recorded (%(default)s)')
    parser.add_argument('--compared', type=int, default=120, help='compared (%(default)s)')
    parser.add_argument('--noise', type=float, default=0.3)
    parser.add_argument('--steps', type=int, default=120)
    parser.add_argument('--learning-rate', type=float, default=5e-4)
    parser.add_argument('--jobs', type=int, default=2)
    loop = Loop(parser.parse_args())
    gain = loop.run()
    seconds = sum(result['seconds'] for result in loop.results.values())
    print(f'{100 * gain:+.1f} percentage points, in {seconds / 60:.0f} minutes')
    return 0 if gain >= WANTED else 1


if __name__ == '__main__':
    sys.exit(main())
