# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""An interrupted or failed plan waits until its threads have cleaned up."""

import signal
import tempfile
import threading

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from vla_ros.cli.eval import main  # noqa: E402, I100
from vla_ros.errors import VlaError  # noqa: E402
from vla_ros.evaluation.plan_runner import PlanRunner  # noqa: E402


class EndlessRunner(PlanRunner):
    """Two threads in an endless episode, which check periodically whether they must stop."""

    def __init__(self):
        super().__init__(range(4), print)
        self.is_in_episode = threading.Barrier(3)
        self.cleaned_up = []

    def _run_queue(self, domain, logs, environment):
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
    runner = EndlessRunner()

    def interrupt():
        runner.is_in_episode.wait(20)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        runner.run(2, tmp_path / 'logs', {})
    thread.join()
    assert len(runner.cleaned_up) == 2


def test_a_failure_of_one_thread_is_raised_after_all_have_ended(tmp_path):
    runner = EndlessRunner()
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
def test_logs_are_kept_after_a_failure_and_deleted_after_an_interrupt(
        end, status, monkeypatch, tmp_path):
    def run(self, jobs, logs, environment):
        assert logs.parent == tmp_path
        (logs / 'node.log').touch()
        end()

    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setattr(PlanRunner, 'run', run)
    assert main(['--episodes', '1']) == status
    assert len(list(tmp_path.glob('vla_eval_*/node.log'))) == (status == 2)
