# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A plan that is interrupted ends what its threads have started."""

import signal
import tempfile
import threading

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from vla_ros.cli.eval import main  # noqa: E402, I100
from vla_ros.errors import VlaError  # noqa: E402
from vla_ros.evaluation.plan_runner import PlanRunner  # noqa: E402


class Waiting(PlanRunner):
    """Two threads in the middle of an episode, which look now and then whether they must stop."""

    def __init__(self):
        super().__init__(range(4), print)
        self.is_in_episode = threading.Barrier(3)
        self.cleaned_up = []

    def _work_off(self, domain, logs, environment):
        try:
            self.is_in_episode.wait(20)
            pause = threading.Event()
            while True:
                pause.wait(0.05)
                self._check()
        finally:
            pause.wait(0.2)  # a process takes a while to end
            self.cleaned_up.append(domain)


def test_an_interrupt_waits_until_every_thread_has_cleaned_up(tmp_path):
    runner = Waiting()

    def interrupt():
        runner.is_in_episode.wait(20)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        runner.run(2, tmp_path / 'logs', {})
    thread.join()
    assert len(runner.cleaned_up) == 2


def test_a_failure_of_one_thread_is_raised_once_all_have_ended(tmp_path):
    runner = Waiting()
    thread = threading.Thread(target=lambda: (
        runner.is_in_episode.wait(20), runner._failures.append(ValueError('of one'))))
    thread.start()
    with pytest.raises(ValueError, match='of one'):
        runner.run(2, tmp_path / 'logs', {})
    thread.join()
    assert len(runner.cleaned_up) == 2


def terminate():
    signal.raise_signal(signal.SIGTERM)


def fail():
    raise VlaError('it failed')


@pytest.mark.parametrize(('end', 'status'), [(terminate, 130), (fail, 2)])
def test_the_logs_of_an_evaluation_stay_if_it_fails_and_not_if_it_is_interrupted(
        end, status, monkeypatch, tmp_path):
    def run(self, jobs, logs, environment):
        assert logs.parent == tmp_path
        (logs / 'node.log').touch()
        end()

    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setattr(PlanRunner, 'run', run)
    assert main(['--episodes', '1']) == status
    assert len(list(tmp_path.glob('vla_eval_*/node.log'))) == (status == 2)
