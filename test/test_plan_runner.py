# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A plan of episodes is run once by several threads, and the first failure ends them all."""

import threading

import pytest
from vla_ros.evaluation.plan_runner import PlanRunner

DEADLINE = 30.0


class Squares(PlanRunner):
    """Squares numbers; both threads have to take one before either goes on."""

    def __init__(self, plan):
        self.reported = []
        self.domains = set()
        self.both = threading.Barrier(2, timeout=DEADLINE)
        super().__init__(plan, self.reported.append)

    def _work_off(self, domain, logs, environment):
        assert environment == {'KEPT': '1', 'ROS_DOMAIN_ID': str(domain)} and logs.is_dir()
        self.domains.add(domain)
        self.both.wait()
        while (number := self._next()) is not None:
            self._finish(number ** 2)


class Failing(Squares):
    """Fails in one thread while the other waits in the middle of an episode."""

    def _work_off(self, domain, logs, environment):
        if self._next() == 0:
            self.both.wait()
            raise ValueError('the simulator ended')
        self.both.wait()
        failed = threading.Event()
        for _ in range(1000):
            self._check()
            failed.wait(0.03)


def test_a_plan_is_run_once_by_threads_with_domains_of_their_own(tmp_path):
    runner = Squares(range(6))
    runner.run(2, tmp_path, {'KEPT': '1'})
    assert sorted(runner.episodes) == [0, 1, 4, 9, 16, 25] == sorted(runner.reported)
    assert len(runner.domains) == 2
    assert {path.name for path in tmp_path.iterdir()} == {str(one) for one in runner.domains}


def test_the_first_failure_ends_all_threads_and_is_raised(tmp_path):
    runner = Failing(range(6))
    with pytest.raises(ValueError, match='the simulator ended'):
        runner.run(2, tmp_path, {})
    assert runner.episodes == [] and runner._next() is None
