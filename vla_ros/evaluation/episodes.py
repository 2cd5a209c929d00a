# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Many episodes on several pairs at once, each on a ROS domain of its own."""

from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from queue import Empty
from queue import SimpleQueue
import threading

from vla_ros.evaluation.examiner import examiner
from vla_ros.evaluation.pair import free_domains
from vla_ros.evaluation.pair import Pair
from vla_ros.evaluation.pair import running
from vla_ros.util.processes import Processes
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.tasks import Task

Plan = Sequence[tuple[int, Task]]


class Trials:
    """
    The episodes of a plan, dealt out to pairs as they get ready.

    An episode depends on its seed and task, not on the pair that plays it.
    """

    def __init__(self, plan: Plan, report: Callable[[Episode], None]) -> None:
        """
        Prepare.

        :param report: called with each episode, from several threads, one at a time.
        """
        self.episodes: list[Episode] = []
        #: Ages of the images when their commands went out, simulated seconds.
        self.ages: list[float] = []
        #: How often the node held the arm, by the reason that it gave.
        self.holds: Counter[str] = Counter()
        self._report = report
        self._lock = threading.Lock()
        self._left: SimpleQueue[tuple[int, Task]] = SimpleQueue()
        for item in plan:
            self._left.put(item)
        self._failures: list[BaseException] = []

    def run(self, pair: Pair, jobs: int, logs: Path, environment: Mapping[str, str]) -> None:
        """
        Play all episodes.

        :raises VlaError: a pair does not work.
        """
        threads = [threading.Thread(target=self._work, daemon=True,
                                    args=(pair, domain, logs / str(domain), environment))
                   for domain in free_domains(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _work(self, pair: Pair, domain: int, logs: Path, environment: Mapping[str, str]) -> None:
        logs.mkdir(parents=True)
        try:
            with running(pair, logs, {**environment, 'ROS_DOMAIN_ID': str(domain)}) as processes:
                self._play(pair, processes, domain)
        except BaseException as failure:  # whatever it is: raised by run, in the main thread
            self._failures.append(failure)

    def _play(self, pair: Pair, processes: Processes, domain: int) -> None:
        with examiner(processes, domain) as found:
            found.await_pair(listeners=1 if pair.is_blank else 2)
            while not self._failures:
                try:
                    seed, task = self._left.get_nowait()
                except Empty:
                    break
                episode = found.run(seed, task)
                with self._lock:
                    self.episodes.append(episode)
                    self._report(episode)
            with self._lock:
                self.ages += found.ages
                self.holds += found.holds
