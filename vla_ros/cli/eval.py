# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_eval``: the success rate of the real node on simulated tasks."""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import signal
import sys
import tempfile
import time
from typing import Any
from typing import TYPE_CHECKING

import numpy as np

from vla_ros.errors import ParameterError
from vla_ros.evaluation.comparison import compare
from vla_ros.evaluation.comparison import compare_rows
from vla_ros.evaluation.pair import BLANK
from vla_ros.evaluation.pair import Pair
from vla_ros.evaluation.pair import shipped_checkpoint
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.policy.choices import DEVICES
from vla_ros.policy.choices import HEADS
from vla_ros.sim.real_time_factor import FASTEST
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

if TYPE_CHECKING:
    from vla_ros.evaluation.plan_runner import PlanRunner
    from vla_ros.evaluation.suite_evaluator import SuiteEpisode

#: Highest real-time factor with ``--speed auto``.
_AUTO_SPEED = 10.0
#: Simulated seconds for which ``--speed auto`` runs ahead of the last inference result.
_RESULT_WITHIN = 0.15
#: Options that only one kind of evaluation takes.
_TABLETOP_OPTIONS = ('task', 'blank', 'speed')
_SUITE_OPTIONS = ('tasks', 'policy', 'controller', 'latency', 'running', 'steps', 'cameras',
                  'proprio', 'unnorm_key', 'output', 'uncropped', 'head')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_eval', lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    _check_kind(arguments)
    return evaluate(arguments) if arguments.suite is None else evaluate_suite(arguments)


def evaluate(arguments: argparse.Namespace) -> int:
    """Run episodes of the tabletop and print the success rates, and how they differ."""
    for name in ('episodes', 'jobs'):
        if getattr(arguments, name) < 1:
            raise ParameterError(f'--{name}', getattr(arguments, name), 'at least 1')
    last = LARGEST_SEED - arguments.episodes
    if not 0 <= arguments.seed <= last:
        raise ParameterError('--seed', arguments.seed, f'a whole number from 0 to {last}')
    pair = _pair(arguments)
    plan = plan_episodes(arguments.episodes, arguments.seed, arguments.task)
    results = [_evaluate_one(one, plan, arguments.jobs) for one in _both(pair, arguments.against)]
    _show(arguments, results, _print, [
        {(episode['instruction'].split()[0], episode['seed']): episode['success']
         for episode in result['episodes']} for result in results])
    return 0


def _evaluate_one(pair: Pair, plan: list[tuple[int, Task]], jobs: int) -> dict[str, Any]:
    """Run the episodes of one checkpoint on the tabletop."""
    try:
        from vla_ros.evaluation.episodes import EpisodeRunner
    except ImportError as error:
        raise missing_package('evaluation', error) from None
    runner = EpisodeRunner(pair, plan, _Reporter(len(plan), _describe_episode))
    seconds = _run_plan(runner, min(jobs, len(plan)))
    result = score(runner.episodes) | _timing(runner.episodes, runner.ages, seconds)
    return {**result, 'checkpoint': pair.checkpoint, 'holds': dict(runner.holds)}


def _both(pair: Any, against: str | None) -> list[Any]:
    """
    Return the pair, and the same with the checkpoint that it is compared with.

    :raises CheckpointError: one of the two cannot be used, which the second run would find late.
    """
    if against is None:
        return [pair]
    for location in (pair.checkpoint, against):
        open_checkpoint(location)
    return [pair, replace(pair, checkpoint=against)]


def _show(arguments: argparse.Namespace, results: list[dict[str, Any]],
          print_result: Callable[[dict[str, Any]], None],
          successes: list[dict[tuple[str, int], bool]]) -> None:
    """
    Print one result, or two and their paired difference.

    :param successes: of each result, by task and number of the episode.
    """
    difference = compare(*successes) if len(results) == 2 else None
    if arguments.json:
        print(json.dumps(results[0] if difference is None else {
            'difference': difference, 'results': results}))
        return
    for result in results:
        if difference is not None:
            print(f'{result["checkpoint"]}:')
        print_result(result)
    if difference is not None:
        print('\n'.join(compare_rows(difference)))


def evaluate_suite(arguments: argparse.Namespace) -> int:
    """Run episodes of a LIBERO suite and print the success rates."""
    suite = check_suite(arguments.suite)
    _check_suite_options(arguments)
    libero_python(os.environ)  # fails here if it is missing, not after the first process
    try:
        from vla_ros.evaluation.suite import plan_suite
        from vla_ros.evaluation.suite import score_suite
        from vla_ros.evaluation.suite import SuiteRunner
        from vla_ros.evaluation.suite_pair import SuitePair
        from vla_ros.evaluation.suite_report import write_report
    except ImportError as error:
        raise missing_package('evaluation', error) from None
    plan = plan_suite(suite, arguments.tasks, arguments.episodes, arguments.seed)
    settings = (f'policy {arguments.policy}, controller {arguments.controller}, seed '
                f'{arguments.seed}, latency {arguments.latency:g} s, simulated time '
                f'{"runs" if arguments.running else "waits for each action"}')
    results: list[dict[str, Any]] = []
    successes: list[dict[tuple[str, int], bool]] = []
    for pair in _both(SuitePair(
            '', arguments.policy, arguments.checkpoint or '', arguments.unnorm_key or suite,
            arguments.controller, arguments.latency, not arguments.running, arguments.steps,
            arguments.cameras, arguments.proprio, arguments.device, not arguments.uncropped,
            arguments.head), arguments.against):
        runner = SuiteRunner(pair, plan, _Reporter(arguments.episodes, _describe_suite_episode))
        seconds = _run_plan(runner, min(arguments.jobs, len(plan)))
        result = score_suite(runner.episodes) | {
            'suite': suite, 'policy': arguments.policy, 'controller': arguments.controller,
            'latency_s': arguments.latency, 'paused': not arguments.running,
            'seed': arguments.seed, 'head': arguments.head, 'checkpoint': pair.checkpoint,
            'wall_s': round(seconds, 1)}
        if arguments.output:
            folder = Path(arguments.output)
            if arguments.against is not None:
                folder /= 'against' if results else 'checkpoint'
            result['page'] = str(write_report(folder, suite, settings, result, runner.episodes))
        results.append(result)
        successes.append({(str(episode.task), episode.state): episode.succeeded
                          for episode in runner.episodes})
    _show(arguments, results, _print_suite, successes)
    return 0


def _print_suite(result: dict[str, Any]) -> None:
    for row in (*result['rows'], result['all']):
        low, high = row['interval']
        print(f'{row["task"]:<22} {row["successes"]:>3}/{row["episodes"]:<3} '
              f'(95 %: {100 * low:.1f} to {100 * high:.1f}) {row["instruction"]}')


def _run_plan(runner: 'PlanRunner', jobs: int) -> float:
    """Run a plan; return the seconds that it took."""
    environment = {**os.environ, **demo_environment(os.environ)}
    environment.setdefault('OMP_NUM_THREADS', '1')  # the pairs share the cores
    # The logs stay if a process fails: the error names them.
    logs = Path(tempfile.mkdtemp(prefix='vla_eval_'))
    began = time.monotonic()
    # Ended either way, the processes are ended as well.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        runner.run(jobs, logs, environment)
    except KeyboardInterrupt:
        shutil.rmtree(logs)  # nothing has failed, and nothing names them
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
    seconds = time.monotonic() - began
    shutil.rmtree(logs)
    return seconds


def _check_kind(arguments: argparse.Namespace) -> None:
    """Refuse options of the other kind of evaluation: they would have no effect."""
    has_suite = arguments.suite is not None
    defaults = _parser().parse_args([])
    for name in _TABLETOP_OPTIONS if has_suite else _SUITE_OPTIONS:
        value = getattr(arguments, name)
        if value != getattr(defaults, name):
            raise ParameterError(f'--{name.replace("_", "-")}', value,
                                 f'left out {"with" if has_suite else "without"} --suite')


def _check_suite_options(arguments: argparse.Namespace) -> None:
    if arguments.policy is None:
        arguments.policy = 'checkpoint' if arguments.checkpoint else 'expert'
    if (arguments.policy == 'expert') == bool(arguments.checkpoint):
        raise ParameterError('--checkpoint', arguments.checkpoint, 'given for --policy checkpoint '
                             'or replay, and not for expert')
    if arguments.against and arguments.policy != 'checkpoint':
        raise ParameterError('--against', arguments.against, 'left out but with --policy '
                             'checkpoint')
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
    """Return every episode a seed and a task: all tasks in turn, or those of one kind."""
    tasks = [task for task in ALL_TASKS if kind in (None, task.kind)]
    return [(seed + index, tasks[index % len(tasks)]) for index in range(count)]


def _pair(arguments: argparse.Namespace) -> Pair:
    checkpoint = arguments.checkpoint or str(shipped_checkpoint())
    if arguments.speed == 'auto':
        return Pair(checkpoint, _AUTO_SPEED, _RESULT_WITHIN, arguments.device, arguments.blank)
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
            'results': len(finite),
            'age_s': {'p50': p50 and round(p50, 4), 'p99': p99 and round(p99, 4)}}


class _Reporter:
    """Prints a line on stderr for each episode."""

    def __init__(self, count: int, describe: Callable[[Any], str]) -> None:
        self._count = count
        self._describe = describe
        self._done = self._succeeded = 0

    def __call__(self, episode: Any) -> None:
        self._done += 1
        self._succeeded += episode.succeeded
        print(f'{self._done}/{self._count}: {self._describe(episode)}; {self._succeeded} '
              f'succeeded so far', file=sys.stderr, flush=True)


def _describe_episode(episode: Episode) -> str:
    outcome = 'success' if episode.succeeded else f'done with {episode.decided or "no block"}'
    return (f'seed {episode.seed}, {episode.task.instruction}: {outcome} after '
            f'{episode.seconds:.1f} s')


def _describe_suite_episode(episode: 'SuiteEpisode') -> str:
    outcome = 'success' if episode.succeeded else 'failed'
    holds = f', holds: {episode.held}' if episode.held else ''
    return (f'{episode.task}, state {episode.state}: {outcome} after {episode.actions} actions, '
            f'{episode.seconds:.0f} s{holds}')


def _print(result: dict[str, Any]) -> None:
    for row in (*result['rows'], *result['colors'], result['all']):
        low, high = row['interval']
        print(f'{row["task"]:<8} {row["successes"]:>4}/{row["episodes"]:<4} '
              f'{100 * row["successes"] / row["episodes"]:5.1f} %  '
              f'(95 %: {100 * low:.1f} to {100 * high:.1f}), wrong block {row["wrong"]}')
    print('instructed colour, and the block that the task was done with:')
    print(' ' * 8 + ''.join(f'{color:>8}' for color in (*COLORS, 'none')))
    for named, counts in result['confusion'].items():
        print(f'{named:<8}' + ''.join(f'{count:>8}' for count in counts.values()))
    age = result['age_s']
    print(f'{result["simulated_s"]:.0f} s simulated in {result["wall_s"]:.0f} s; age of an image '
          f'when its command goes out, simulated: p50 {age["p50"]} s, p99 {age["p99"]} s, '
          f'n={result["results"]}')
    holds = ', '.join(f'{reason} {count}' for reason, count in result['holds'].items())
    print(f'holds of the arm: {holds or "none"}')


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog='vla_eval', description=__doc__)
    parser.add_argument('--checkpoint', metavar='DIR',
                        help='default: the one that comes with the package')
    parser.add_argument('--against', metavar='DIR', help='another checkpoint, which runs the same '
                        'episodes: prints the paired difference with its 95 %% interval, too')
    parser.add_argument('--episodes', type=int, default=12, metavar='N')
    parser.add_argument('--seed', type=int, default=10000, help='seed of the first episode')
    parser.add_argument('--task', choices=KINDS, help='default: all three in turn')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, metavar='N',
                        help='pairs of simulator and node at a time; default: one a core')
    parser.add_argument('--device', choices=DEVICES, default='auto')
    parser.add_argument('--blank', action='store_true',
                        help=f'the model gets {BLANK!r} in place of the instruction')
    parser.add_argument('--speed', default='auto', metavar='auto|X',
                        help='real-time factor; auto: as fast as possible, but at most '
                        f'{_RESULT_WITHIN:g} s ahead of the image of the last result')
    suite = parser.add_argument_group('LIBERO (docs/libero.md)')
    suite.add_argument('--suite', metavar='NAME', help='a suite of the benchmark, such as '
                       'libero_spatial, in place of the tabletop')
    suite.add_argument('--tasks', type=_task_numbers, metavar='N,N', help='default: all')
    suite.add_argument('--policy', choices=('expert', 'replay', 'checkpoint'),
                       help='expert: scripted; replay: the recording in the folder --checkpoint; '
                       'default: checkpoint if one is named, else expert')
    suite.add_argument('--controller', choices=('joint', 'osc'), default='joint',
                       help="joint: this package moves the arm; osc: the benchmark's controller")
    suite.add_argument('--latency', type=float, default=0.0, metavar='S',
                       help='simulated delay of the images')
    suite.add_argument('--running', action='store_true', help='simulated time does not wait for '
                       'actions')
    suite.add_argument('--steps', type=int, default=1, metavar='N',
                       help='actions that are executed of each chunk; 8 for OpenVLA-OFT')
    suite.add_argument('--cameras', type=int, choices=(1, 2), default=1,
                       help='2: the wrist camera, too')
    suite.add_argument('--proprio', action='store_true', help="the checkpoint takes the robot's "
                       'state')
    suite.add_argument('--uncropped', action='store_true', help='the checkpoint was trained '
                       'without random crops: images are not cropped')
    suite.add_argument('--head', choices=HEADS, default='auto', help='how the action leaves the '
                       'network: discrete for the tokens of a chunk; default: read from the '
                       'checkpoint')
    suite.add_argument('--unnorm-key', metavar='KEY', help='default: the name of the suite')
    suite.add_argument('--output', metavar='DIR', help='write a page with filmstrips, and the '
                       'actions')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


if __name__ == '__main__':
    sys.exit(main())
