# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A suite of LIBERO: plan, processes of each task, successes."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_ros.errors import ParameterError
from vla_ros.evaluation.evaluator import make_evaluator
from vla_ros.evaluation.pair import NODE
from vla_ros.evaluation.pair import SIM
from vla_ros.evaluation.plan_runner import PlanRunner
from vla_ros.evaluation.suite_evaluator import SuiteEpisode
from vla_ros.evaluation.suite_evaluator import SuiteEvaluator
from vla_ros.evaluation.suite_pair import SuitePair
from vla_ros.util.processes import Processes
from vla_ros.worlds.libero.suites import INITIAL_STATES
from vla_ros.worlds.libero.suites import task_count
from vla_ros.worlds.libero.suites import TaskName
from vla_ros.worlds.outcomes import wilson_interval

Plan = list[tuple[TaskName, list[int]]]


def plan_suite(suite: str, numbers: list[int] | None, episodes: int, seed: int) -> Plan:
    """
    Deal episodes out to the tasks in turn; a task's initial states count up from the seed.

    Seed 0 gives the states of the official evaluation, which takes them in order.

    :param numbers: of the tasks; None for all.
    :raises ParameterError: a task does not exist, or has too few initial states.
    """
    if numbers is not None and len(set(numbers)) != len(numbers):
        raise ParameterError('--tasks', numbers, 'a list without repetitions')
    tasks = [TaskName(suite, number) for number in
             (range(task_count(suite)) if numbers is None else numbers)]
    most = len(tasks) * INITIAL_STATES
    if not 1 <= episodes <= most:
        raise ParameterError('--episodes', episodes, f'from 1 to {most}: {INITIAL_STATES} initial '
                             'states of each task')
    if seed < 0:
        raise ParameterError('--seed', seed, 'zero or more')
    plan: Plan = []
    for index, task in enumerate(tasks):
        count = len(range(index, episodes, len(tasks)))
        if count:
            plan.append((task, [(seed + number) % INITIAL_STATES for number in range(count)]))
    return plan


class SuiteRunner(PlanRunner[tuple[TaskName, list[int]], SuiteEpisode]):
    """Runs a plan task by task, since the world of a task takes long to build."""

    def __init__(self, pair: SuitePair, plan: Plan,
                 report: Callable[[SuiteEpisode], None]) -> None:
        """Prepare; see :class:`PlanRunner`."""
        super().__init__(plan, report)
        self._pair = pair

    def _run_queue(self, domain: int, logs: Path, environment: Mapping[str, str]) -> None:
        item = self._next()
        if item is None:
            return
        pair = replace(self._pair, world=str(item[0]))
        with Processes(logs, pair.sim_environment(environment)) as robot, \
                Processes(logs, environment) as node:

            def check() -> None:
                robot.check()
                self._check()

            robot.start(SIM, pair.sim_command())
            with make_evaluator(SuiteEvaluator, node, domain) as evaluator:
                evaluator.on_wait = check
                evaluator.wait_for_robot()
                # The node waits for the URDF for a limited time; the world takes longer.
                node.start(NODE, pair.node_command())
                evaluator.wait_for_pair(subscribers=1)
                while item is not None:
                    task, states = item
                    for state in states:
                        self._finish(evaluator.run_state(task, state))
                    item = self._next()


def score_suite(episodes: Iterable[SuiteEpisode]) -> dict[str, Any]:
    """Sum up by task: successes with their Wilson interval."""
    episodes = sorted(episodes, key=lambda episode: (episode.task.number, episode.state))
    tasks = list(dict.fromkeys(episode.task for episode in episodes))
    return {
        'rows': [_row(str(task), [e for e in episodes if e.task == task]) for task in tasks],
        'all': _row('all', episodes),
        'episodes': [{'task': str(e.task), 'state': e.state, 'instruction': e.instruction,
                      'success': e.succeeded, 'actions': e.actions, 'holds': e.held,
                      'wall_s': round(e.seconds, 1)} for e in episodes]}


def _row(name: str, episodes: list[SuiteEpisode]) -> dict[str, Any]:
    successes = sum(episode.succeeded for episode in episodes)
    low, high = wilson_interval(successes, len(episodes))
    return {'task': name, 'instruction': episodes[0].instruction if name != 'all' else '',
            'episodes': len(episodes), 'successes': successes,
            'interval': [round(low, 4), round(high, 4)]}
