# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_eval``: how often the real node makes the simulated arm do what it is told."""

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import shutil
import sys
import tempfile
import time
from typing import Any

import numpy as np

from vla_ros.demo.environment import demo_environment
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.policy import DEVICES
from vla_ros.sim.pace import FASTEST
from vla_ros.sim.pair import BLANK
from vla_ros.sim.pair import Pair
from vla_ros.sim.pair import shipped_checkpoint
from vla_ros.sim.scene import LARGEST_SEED
from vla_ros.sim.score import Episode
from vla_ros.sim.score import score
from vla_ros.sim.tasks import ALL_TASKS
from vla_ros.sim.tasks import COLORS
from vla_ros.sim.tasks import KINDS
from vla_ros.sim.tasks import Task
from vla_ros.tools.command_line import run_tool

#: Of simulated time, where only the answers hold it up.
_FASTEST = 10.0
#: Simulated seconds after which time waits for an answer, with ``--speed auto``.
_ANSWER_WITHIN = 0.15


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_eval', lambda: evaluate(arguments))


def evaluate(arguments: argparse.Namespace) -> int:
    """Run the episodes and print the score."""
    for name in ('episodes', 'jobs'):
        if getattr(arguments, name) < 1:
            raise ParameterError(f'--{name}', getattr(arguments, name), 'at least 1')
    last = LARGEST_SEED - arguments.episodes
    if not 0 <= arguments.seed <= last:
        raise ParameterError('--seed', arguments.seed, f'a whole number from 0 to {last}')
    pair = _pair(arguments)
    try:
        from vla_ros.sim.trials import Trials
    except ImportError as error:
        raise UnsupportedError('vla_eval', f'ROS cannot be imported ({error})', 'run '
                               './scripts/setup, or source the setup file of a ROS 2 '
                               'installation') from None
    plan = plan_episodes(arguments.episodes, arguments.seed, arguments.task)
    trials = Trials(plan, _Reporter(len(plan)))
    began = time.monotonic()
    environment = {**os.environ, **demo_environment(os.environ)}
    environment.setdefault('OMP_NUM_THREADS', '1')  # the pairs share the cores among them
    # Kept where something goes wrong: the error names them.
    logs = Path(tempfile.mkdtemp(prefix='vla_eval_'))
    trials.run(pair, min(arguments.jobs, len(plan)), logs, environment)
    shutil.rmtree(logs)
    seconds = time.monotonic() - began
    result = score(trials.episodes) | _timing(trials.episodes, trials.ages, seconds)
    result['holds'] = dict(trials.holds)
    if arguments.json:
        print(json.dumps(result))
    else:
        _print(result)
    return 0


def plan_episodes(count: int, seed: int, kind: str | None) -> list[tuple[int, Task]]:
    """Give every episode its seed and its task: all in turn, or those of one kind."""
    tasks = [task for task in ALL_TASKS if kind in (None, task.kind)]
    return [(seed + index, tasks[index % len(tasks)]) for index in range(count)]


def _pair(arguments: argparse.Namespace) -> Pair:
    checkpoint = arguments.checkpoint or str(shipped_checkpoint())
    if arguments.speed == 'auto':
        return Pair(checkpoint, _FASTEST, _ANSWER_WITHIN, arguments.device, arguments.blank)
    try:
        speed = float(arguments.speed)
    except ValueError:
        raise ParameterError('--speed', arguments.speed, 'auto or a number') from None
    if not 0.01 <= speed <= FASTEST:
        raise ParameterError('--speed', speed, f'auto or a number from 0.01 to {FASTEST:g}')
    return Pair(checkpoint, speed, 0.0, arguments.device, arguments.blank)


def _timing(episodes: list[Episode], ages: list[float], seconds: float) -> dict[str, Any]:
    simulated = sum(episode.seconds for episode in episodes)
    finite = [age for age in ages if np.isfinite(age)]
    p50, p99 = np.percentile(finite, [50, 99]).tolist() if finite else (None, None)
    return {'simulated_s': round(simulated, 2), 'wall_s': round(seconds, 2),
            'answers': len(finite),
            'age_s': {'p50': p50 and round(p50, 4), 'p99': p99 and round(p99, 4)}}


class _Reporter:
    """Says on stderr how it goes, an episode a line."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = self._succeeded = 0

    def __call__(self, episode: Episode) -> None:
        self._done += 1
        self._succeeded += episode.succeeded
        outcome = 'done' if episode.succeeded else f'happened to {episode.decided or "none"}'
        print(f'{self._done}/{self._count}: seed {episode.seed}, {episode.task.instruction}: '
              f'{outcome} after {episode.seconds:.1f} s; {self._succeeded} so far',
              file=sys.stderr, flush=True)


def _print(result: dict[str, Any]) -> None:
    for row in (*result['rows'], *result['colors'], result['all']):
        low, high = row['interval']
        print(f'{row["task"]:<8} {row["successes"]:>4}/{row["episodes"]:<4} '
              f'{100 * row["successes"] / row["episodes"]:5.1f} %  '
              f'(95 %: {100 * low:.1f} to {100 * high:.1f}), wrong block {row["wrong"]}')
    print('named, and to which block it happened:')
    print(' ' * 8 + ''.join(f'{color:>8}' for color in (*COLORS, 'none')))
    for named, counts in result['confusion'].items():
        print(f'{named:<8}' + ''.join(f'{count:>8}' for count in counts.values()))
    age = result['age_s']
    print(f'{result["simulated_s"]:.0f} s simulated in {result["wall_s"]:.0f} s; age of an image '
          f'when its command goes out, simulated: p50 {age["p50"]} s, p99 {age["p99"]} s, '
          f'n={result["answers"]}')
    holds = ', '.join(f'{reason} {count}' for reason, count in result['holds'].items())
    print(f'holds of the arm: {holds or "none"}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='vla_eval', description=__doc__)
    parser.add_argument('--checkpoint', metavar='DIR', help='the one of the package if not given')
    parser.add_argument('--episodes', type=int, default=12, metavar='N')
    parser.add_argument('--seed', type=int, default=10000, help='of the first episode')
    parser.add_argument('--task', choices=KINDS, help='all three in turn if not given')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, metavar='N',
                        help='pairs of simulator and node at once; the cores if not given')
    parser.add_argument('--device', choices=DEVICES, default='auto')
    parser.add_argument('--blank', action='store_true',
                        help=f'the model is told {BLANK!r} instead of the instruction')
    parser.add_argument('--speed', default='auto', metavar='auto|X',
                        help='of the simulated time; auto: as fast as it goes, but no further '
                        f'than {_ANSWER_WITHIN:g} s ahead of the last answered image')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


if __name__ == '__main__':
    sys.exit(main())
