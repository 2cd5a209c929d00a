# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Child processes end on request, and one that fails is named with its last line."""

import os
from pathlib import Path
import sys
import time

import pytest

from vla_ros.util.processes import ProcessError
from vla_ros.util.processes import Processes

OBEDIENT = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print('ready', flush=True)
signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
while True: signal.pause()
"""
BROKEN = "print('loading'); raise SystemExit('no such camera\\n')"


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path, os.environ) as processes:
        yield processes


def start(processes, name, script):
    processes.start(name, [sys.executable, '-c', script])


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'it did not happen'
        time.sleep(0.01)


def wait_until_ready(processes, *names):
    for name in names:
        wait_for(lambda: 'ready' in processes.log(name).read_text())


def test_processes_end_with_the_with_block(tmp_path):
    with Processes(tmp_path, os.environ) as processes:
        start(processes, 'a', OBEDIENT)
        start(processes, 'b', OBEDIENT)
        wait_until_ready(processes, 'a', 'b')
        processes.check()
    processes.check_ended_well()


def test_a_process_that_ignores_signals_is_killed_and_named(processes, monkeypatch):
    monkeypatch.setattr('vla_ros.util.processes._STOP', ((2, 0.2), (15, 0.2), (9, 5.0)))
    start(processes, 'mule', STUBBORN)
    wait_until_ready(processes, 'mule')
    processes.stop()
    with pytest.raises(ProcessError, match='mule ended with status -9: ready'):
        processes.check_ended_well()


def test_a_process_that_fails_is_named_with_its_last_line(processes):
    start(processes, 'camera', BROKEN)

    def failed():
        try:
            processes.check()
        except ProcessError as error:
            assert str(error).startswith('camera ended with status 1: no such camera (')
            assert Path(processes.log('camera')).name in str(error)
            return True
        return False

    wait_for(failed)


def test_ctrl_c_in_the_terminal_does_not_reach_the_process(processes):
    start(processes, 'group', 'import os; print("ready", os.getpgrp() == os.getpid(), flush=True)')
    wait_until_ready(processes, 'group')
    assert processes.log('group').read_text().split() == ['ready', 'True']
