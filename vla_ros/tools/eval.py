# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_eval``: how often the real node makes the simulated arm do what it is told."""

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
import sys
import tempfile
from typing import Any

from vla_ros.errors import ParameterError
from vla_ros.sim.score import Episode
from vla_ros.sim.score import score
from vla_ros.sim.tasks import ALL_TASKS
from vla_ros.sim.tasks import KINDS
from vla_ros.sim.tasks import Task
from vla_ros.tools.command_line import run_tool

_BLANK = 'do something'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_eval', lambda: evaluate(arguments))


def evaluate(arguments: argparse.Namespace) -> int:
    """Run the episodes and print the score."""
    if arguments.episodes < 1:
        raise ParameterError('--episodes', arguments.episodes, 'at least 1')
    from vla_ros.sim.trial import examiner  # needs ROS
    plan = plan_episodes(arguments.episodes, arguments.seed, arguments.task)
    episodes = []
    with tempfile.TemporaryDirectory() as logs, \
            examiner(arguments.checkpoint, Path(logs), arguments.speed,
                     _BLANK if arguments.blank else '') as trial:
        trial.await_commands(plan[0][1])
        for seed, task in plan:
            episodes.append(trial.run(seed, task))
            _report(episodes)
    result = score(episodes)
    if arguments.json:
        print(json.dumps(result))
    else:
        _print(result)
    return 0


def plan_episodes(count: int, seed: int, kind: str | None) -> list[tuple[int, Task]]:
    """Give every episode its seed and its task: all in turn, or those of one kind."""
    tasks = [task for task in ALL_TASKS if kind in (None, task.kind)]
    return [(seed + index, tasks[index % len(tasks)]) for index in range(count)]


def _report(episodes: list[Episode]) -> None:
    last = episodes[-1]
    outcome = 'done' if last.succeeded else f'happened to {last.decided or "none"}'
    print(f'{len(episodes)}: seed {last.seed}, {last.task.instruction}: {outcome} after '
          f'{last.seconds:.1f} s; {sum(e.succeeded for e in episodes)}/{len(episodes)}',
          file=sys.stderr, flush=True)


def _print(result: dict[str, Any]) -> None:
    for row in (*result['rows'], *result['colors'], result['all']):
        low, high = row['interval']
        print(f'{row["task"]:<8} {row["successes"]:>4}/{row["episodes"]:<4} '
              f'{100 * row["successes"] / row["episodes"]:5.1f} %  '
              f'(95 %: {100 * low:.1f} to {100 * high:.1f}), wrong block {row["wrong"]}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='vla_eval', description=__doc__)
    parser.add_argument('--checkpoint', required=True, metavar='DIR')
    parser.add_argument('--episodes', type=int, default=12, metavar='N')
    parser.add_argument('--seed', type=int, default=10000, help='of the first episode')
    parser.add_argument('--task', choices=KINDS, help='all three in turn if not given')
    parser.add_argument('--blank', action='store_true',
                        help=f'the model is told {_BLANK!r} instead of the instruction')
    parser.add_argument('--speed', type=float, default=1.0,
                        help='of the simulated time; slower than 1 for a busy machine')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


if __name__ == '__main__':
    sys.exit(main())
