# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A plan of episodes that several threads work off, each with its own processes and ROS domain."""

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from queue import Empty
from queue import SimpleQueue
import threading
from typing import Generic
from typing import TypeVar

from vla_ros.evaluation.pair import free_domains
from vla_ros.util.signals import signals_queued
from vla_ros.util.signals import wait_for_item

Item = TypeVar('Item')
Result = TypeVar('Result')


class PlanRunner(ABC, Generic[Item, Result]):
    """
    Runs a plan on several threads.

    A result depends on its item alone, not on the thread that runs it.
    """

    def __init__(self, plan: Iterable[Item], report: Callable[[Result], None]) -> None:
        """
        Prepare.

        :param report: called with each result, from several threads, one at a time.
        """
        self.episodes: list[Result] = []
        self._report = report
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Item] = SimpleQueue()
        for item in plan:
            self._queue.put(item)
        self._failures: list[BaseException] = []

    def run(self, jobs: int, logs: Path, environment: Mapping[str, str]) -> None:
        """
        Run the whole plan; for the main thread.

        :param jobs: threads.
        :param logs: folder for the output of all processes, one folder a ROS domain in it.
        :raises VlaError: a process does not work.
        :raises KeyboardInterrupt: SIGINT or SIGTERM came; all processes have ended.
        """
        ended: SimpleQueue[int | None] = SimpleQueue()
        left = set(free_domains(jobs))
        # Noted, not raised: an exception can come up in a finalizer, where Python drops it, or in
        # a join, which then takes the thread for ended (bpo-45274).
        with signals_queued(ended):
            for domain in left:
                threading.Thread(target=self._work, daemon=True,
                                 args=(domain, logs / str(domain), environment, ended)).start()
            while left:
                item = wait_for_item(ended)
                if item is None:
                    # The threads end their processes, which have sessions of their own.
                    self._failures.append(KeyboardInterrupt())
                else:
                    left.discard(item)
        if self._failures:
            raise self._failures[0]

    @abstractmethod
    def _run_queue(self, domain: int, logs: Path, environment: Mapping[str, str]) -> None:
        """Start processes on a ROS domain and run items until :meth:`_next` gives none."""

    def _next(self) -> Item | None:
        """Return the next item; None if the plan is done or a thread has failed."""
        if self._failures:
            return None
        try:
            return self._queue.get_nowait()
        except Empty:
            return None

    def _finish(self, result: Result) -> None:
        """Keep and report a result."""
        with self._lock:
            self.episodes.append(result)
            self._report(result)

    def _check(self) -> None:
        """
        Stop in the middle of an episode once the plan has failed.

        :raises BaseException: the first failure of any thread.
        """
        if self._failures:
            raise self._failures[0]

    def _work(self, domain: int, logs: Path, environment: Mapping[str, str],
              ended: 'SimpleQueue[int | None]') -> None:
        try:
            logs.mkdir(parents=True)
            self._run_queue(domain, logs, {**environment, 'ROS_DOMAIN_ID': str(domain)})
        except BaseException as failure:  # whatever it is: raised by run, in the main thread
            self._failures.append(failure)
        finally:
            ended.put(domain)
