# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A suite of LIBERO, episode by episode: plan, processes, score."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Empty
from queue import SimpleQueue
import threading
from typing import Any

from vla_ros.errors import ParameterError
from vla_ros.evaluation.pair import free_domains
from vla_ros.evaluation.pair import NODE
from vla_ros.evaluation.pair import SIM
from vla_ros.evaluation.suite_examiner import suite_examiner
from vla_ros.evaluation.suite_examiner import SuiteEpisode
from vla_ros.evaluation.suite_pair import SuitePair
from vla_ros.util.processes import Processes
from vla_ros.worlds.libero.suites import INITIAL_STATES
from vla_ros.worlds.libero.suites import task_count
from vla_ros.worlds.libero.suites import TaskName
from vla_ros.worlds.outcomes import wilson_interval

Plan = list[tuple[TaskName, list[int]]]


def plan_suite(suite: str, numbers: list[int] | None, episodes: int, seed: int) -> Plan:
    """
    Give each task its initial states: the tasks in turn, and of each the states from the seed on.

    With seed 0 they are those of the official evaluation, which takes them in order.

    :param numbers: of the tasks; None for all.
    :raises ParameterError: there are no such tasks, or not so many initial states.
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
    for place, task in enumerate(tasks):
        count = len(range(place, episodes, len(tasks)))
        if count:
            plan.append((task, [(seed + index) % INITIAL_STATES for index in range(count)]))
    return plan


class SuiteTrials:
    """The episodes of a plan, dealt out task by task: a task's world takes long to build."""

    def __init__(self, plan: Plan, report: Callable[[SuiteEpisode], None]) -> None:
        """
        Prepare.

        :param report: called with each episode, from several threads, one at a time.
        """
        self.episodes: list[SuiteEpisode] = []
        self._report = report
        self._lock = threading.Lock()
        self._left: SimpleQueue[tuple[TaskName, list[int]]] = SimpleQueue()
        for item in plan:
            self._left.put(item)
        self._failures: list[BaseException] = []

    def run(self, pair: SuitePair, jobs: int, logs: Path, environment: Mapping[str, str]) -> None:
        """
        Play all episodes.

        :raises VlaError: a pair does not work.
        """
        threads = [threading.Thread(target=self._work, daemon=True,
                                    args=(pair, domain, logs / str(domain), environment))
                   for domain in free_domains(jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt as interrupt:
            # The threads end their processes, which have sessions of their own.
            self._failures.append(interrupt)
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]

    def _work(self, pair: SuitePair, domain: int, logs: Path,
              environment: Mapping[str, str]) -> None:
        logs.mkdir(parents=True)
        own = {**environment, 'ROS_DOMAIN_ID': str(domain)}
        try:
            task, states = self._left.get_nowait()
        except Empty:
            return
        pair = replace(pair, world=str(task))
        try:
            with Processes(logs, pair.sim_environment(own)) as robot, \
                    Processes(logs, own) as node:
                robot.start(SIM, pair.sim_command())
                with suite_examiner(node, domain) as found:
                    found.on_turn = partial(self._check, robot)
                    found.await_robot()
                    # It waits for the URDF only so long, and the world takes longer.
                    node.start(NODE, pair.node_command())
                    found.await_pair(listeners=1)
                    while not self._failures:
                        self._play(found, task, states)
                        task, states = self._left.get_nowait()
        except Empty:
            pass
        except BaseException as failure:  # whatever it is: told by run, in the main thread
            if failure not in self._failures:
                self._failures.append(failure)

    def _check(self, robot: Processes) -> None:
        robot.check()
        if self._failures:
            raise self._failures[0]

    def _play(self, found: Any, task: TaskName, states: Iterable[int]) -> None:
        for state in states:
            episode = found.play(task, state)
            with self._lock:
                self.episodes.append(episode)
                self._report(episode)


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
