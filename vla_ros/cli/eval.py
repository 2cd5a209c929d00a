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

from vla_ros.errors import ParameterError
from vla_ros.evaluation.pair import BLANK
from vla_ros.evaluation.pair import Pair
from vla_ros.evaluation.pair import shipped_checkpoint
from vla_ros.policy.choices import DEVICES
from vla_ros.sim.pace import FASTEST
from vla_ros.transport.local_environment import demo_environment
from vla_ros.util.argument_parser import ArgumentParser
from vla_ros.util.command_line import run_tool
from vla_ros.util.packages import missing_package
from vla_ros.worlds.libero.environment import libero_python
from vla_ros.worlds.libero.suites import check_suite
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.outcomes import score
from vla_ros.worlds.scene import LARGEST_SEED
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import COLORS
from vla_ros.worlds.tasks import KINDS
from vla_ros.worlds.tasks import Task

#: Of simulated time, where only the answers hold it up.
_FASTEST = 10.0
#: Simulated seconds after which time waits for an answer, with ``--speed auto``.
_ANSWER_WITHIN = 0.15
#: Options that only one kind of evaluation has.
_TABLETOP_OPTIONS = ('task', 'blank', 'speed')
_SUITE_OPTIONS = ('tasks', 'policy', 'controller', 'latency', 'running', 'steps', 'cameras',
                  'proprio', 'unnorm_key', 'output')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_eval', lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    _check_kind(arguments)
    return evaluate(arguments) if arguments.suite is None else evaluate_suite(arguments)


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
        from vla_ros.evaluation.episodes import Trials
    except ImportError as error:
        raise missing_package('evaluation', error) from None
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


def evaluate_suite(arguments: argparse.Namespace) -> int:
    """Run the episodes of a suite of LIBERO, and print the score."""
    suite = check_suite(arguments.suite)
    _check_suite_options(arguments)
    libero_python(os.environ)  # whoever lacks it learns it at once
    try:
        from vla_ros.evaluation.suite import plan_suite
        from vla_ros.evaluation.suite import score_suite
        from vla_ros.evaluation.suite import SuiteTrials
        from vla_ros.evaluation.suite_pair import SuitePair
        from vla_ros.evaluation.suite_report import write_report
    except ImportError as error:
        raise missing_package('evaluation', error) from None
    plan = plan_suite(suite, arguments.tasks, arguments.episodes, arguments.seed)
    reporter = _SuiteReporter(arguments.episodes)
    trials = SuiteTrials(plan, reporter)
    pair = SuitePair(
        '', arguments.policy, arguments.checkpoint or '', arguments.unnorm_key or suite,
        arguments.controller, arguments.latency, not arguments.running, arguments.steps,
        arguments.cameras, arguments.proprio, arguments.device)
    environment = {**os.environ, **demo_environment(os.environ)}
    environment.setdefault('OMP_NUM_THREADS', '1')
    logs = Path(tempfile.mkdtemp(prefix='vla_eval_'))
    began = time.monotonic()
    trials.run(pair, min(arguments.jobs, len(plan)), logs, environment)
    shutil.rmtree(logs)
    result = score_suite(trials.episodes) | {
        'suite': suite, 'policy': arguments.policy, 'controller': arguments.controller,
        'latency_s': arguments.latency, 'paused': not arguments.running, 'seed': arguments.seed,
        'wall_s': round(time.monotonic() - began, 1)}
    if arguments.output:
        settings = (f'policy {arguments.policy}, controller {arguments.controller}, seed '
                    f'{arguments.seed}, latency {arguments.latency:g} s, simulated time '
                    f'{"runs" if arguments.running else "waits for each answer"}')
        result['page'] = str(write_report(Path(arguments.output), suite, settings, result,
                                          trials.episodes))
    if arguments.json:
        print(json.dumps(result))
        return 0
    for row in (*result['rows'], result['all']):
        low, high = row['interval']
        print(f'{row["task"]:<22} {row["successes"]:>3}/{row["episodes"]:<3} '
              f'(95 %: {100 * low:.1f} to {100 * high:.1f}) {row["instruction"]}')
    return 0


def _check_kind(arguments: argparse.Namespace) -> None:
    """Refuse options of the other kind of evaluation, which would have no effect."""
    has_suite = arguments.suite is not None
    usual = _parser().parse_args([])
    for name in _TABLETOP_OPTIONS if has_suite else _SUITE_OPTIONS:
        value = getattr(arguments, name)
        if value != getattr(usual, name):
            raise ParameterError(f'--{name.replace("_", "-")}', value,
                                 f'left out {"with" if has_suite else "without"} --suite')


def _check_suite_options(arguments: argparse.Namespace) -> None:
    if arguments.policy is None:
        arguments.policy = 'checkpoint' if arguments.checkpoint else 'expert'
    if (arguments.policy == 'expert') == bool(arguments.checkpoint):
        raise ParameterError('--checkpoint', arguments.checkpoint, 'given for --policy checkpoint '
                             'or replay, and not for expert')
    for name, least, most in (('jobs', 1, 64), ('steps', 1, 100)):
        if not least <= getattr(arguments, name) <= most:
            raise ParameterError(f'--{name}', getattr(arguments, name),
                                 f'from {least} to {most}')
    if not 0.0 <= arguments.latency <= 2.0:
        raise ParameterError('--latency', arguments.latency, 'from 0 to 2 s')


def _task_numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(',')]
    except ValueError:
        raise argparse.ArgumentTypeError(f'got {text!r}, it must be numbers of tasks with commas '
                                         'between them, such as 0,3') from None


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


class _SuiteReporter:
    """Says on stderr how a suite goes, an episode a line."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = self._succeeded = 0

    def __call__(self, episode: Any) -> None:
        self._done += 1
        self._succeeded += episode.succeeded
        outcome = 'success' if episode.succeeded else 'failed'
        print(f'{self._done}/{self._count}: {episode.task}, state {episode.state}: {outcome} '
              f'after {episode.actions} actions, {episode.seconds:.0f} s; {self._succeeded} so far'
              f'{"; holds: " + str(episode.held) if episode.held else ""}',
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
    parser = ArgumentParser(prog='vla_eval', description=__doc__)
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
    suite = parser.add_argument_group('LIBERO (docs/libero.md)')
    suite.add_argument('--suite', metavar='NAME', help='a suite of the benchmark, such as '
                       'libero_spatial, in place of the tabletop')
    suite.add_argument('--tasks', type=_task_numbers, metavar='N,N', help='all if not given')
    suite.add_argument('--policy', choices=('expert', 'replay', 'checkpoint'),
                       help='expert: scripted; replay: the recording in the folder --checkpoint; '
                       'checkpoint if one is named, else expert')
    suite.add_argument('--controller', choices=('joint', 'osc'), default='joint',
                       help="joint: this package moves the arm; osc: the benchmark's controller")
    suite.add_argument('--latency', type=float, default=0.0, metavar='S',
                       help='simulated seconds by which images are late')
    suite.add_argument('--running', action='store_true', help='simulated time does not wait for '
                       'answers')
    suite.add_argument('--steps', type=int, default=1, metavar='N',
                       help='actions that are played of each answer; 8 for OpenVLA-OFT')
    suite.add_argument('--cameras', type=int, choices=(1, 2), default=1,
                       help='2: the one on the wrist, too')
    suite.add_argument('--proprio', action='store_true', help="the checkpoint takes the robot's "
                       'state')
    suite.add_argument('--unnorm-key', metavar='KEY', help='the name of the suite if not given')
    suite.add_argument('--output', metavar='DIR', help='write a page with filmstrips, and the '
                       'actions')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


if __name__ == '__main__':
    sys.exit(main())
