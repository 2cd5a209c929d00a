# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Episodes of the tabletop, each on a pair of simulator and inference node."""

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path

from vla_ros.evaluation.evaluator import Evaluator
from vla_ros.evaluation.evaluator import make_evaluator
from vla_ros.evaluation.pair import Pair
from vla_ros.evaluation.pair import running
from vla_ros.evaluation.plan_runner import PlanRunner
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.tasks import Task


class EpisodeRunner(PlanRunner[tuple[int, Task], Episode]):
    """Runs a plan of seeds and tasks; a pair takes the next one as soon as it is free."""

    def __init__(self, pair: Pair, plan: Iterable[tuple[int, Task]],
                 report: Callable[[Episode], None]) -> None:
        """Prepare; see :class:`PlanRunner`."""
        super().__init__(plan, report)
        #: Ages of the images when their commands went out, simulated seconds.
        self.ages: list[float] = []
        #: How often the node held the arm, by its reason.
        self.holds: Counter[str] = Counter()
        self._pair = pair

    def _run_queue(self, domain: int, logs: Path, environment: Mapping[str, str]) -> None:
        with running(self._pair, logs, environment) as processes, \
                make_evaluator(Evaluator, processes, domain) as evaluator:
            evaluator.on_wait = self._check
            evaluator.wait_for_pair(subscribers=1 if self._pair.is_blank else 2)
            while (item := self._next()) is not None:
                self._finish(evaluator.run(*item))
            with self._lock:
                self.ages += evaluator.ages
                self.holds += evaluator.holds
