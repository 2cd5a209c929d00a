# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A transport that will not work is reported in one line within five seconds."""

from dataclasses import replace
import fcntl
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import pytest

from vla_ros.errors import UnsupportedError
from vla_ros.transport import preflight
from vla_ros.transport.checks import make_check
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import MiddlewareCheck
from vla_ros.transport.plan import ProfileCheck
from vla_ros.transport.plan import ReceiveBufferCheck
from vla_ros.transport.plan import SharedMemoryCheck
from vla_ros.transport.planner import make_plan
from vla_ros.transport.preflight import prepare

#: The pre-flight takes less than five seconds; processes that it started end after that.
LIMIT = 15.0
assert preflight._TIME_LIMIT < 5.0
VGA = FrameSize(640, 480)


@pytest.fixture
def fake_roudi(tmp_path, monkeypatch):
    """Return a function that puts a RouDi with this script on the PATH."""
    def make(script):
        program = tmp_path / 'bin' / 'iox-roudi'
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv('PATH', str(program.parent), prepend=os.pathsep)
    return make


@pytest.fixture
def plan(tmp_path):
    """Return a function that plans iceoryx with a lock of the test and without a loop-back."""
    def make(mode='auto', memory=0):
        made = make_plan('kilted', 'iceoryx', {'ROS_HOME': str(tmp_path)}, VGA, mode)
        process = replace(made.processes[0], lock=tmp_path / 'roudi.lock', memory=memory)
        return replace(made, processes=(process,), loop_back=None)
    return make


@pytest.fixture
def locked(tmp_path):
    """Hold the lock that a running RouDi holds."""
    with (tmp_path / 'roudi.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def failure(plan, environment=None):
    """Return the error of a pre-flight, which must end in time."""
    start = time.monotonic()
    with pytest.raises(UnsupportedError) as caught:
        prepare(plan, os.environ if environment is None else environment, print)
    assert time.monotonic() - start < LIMIT
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_missing_roudi_is_reported_with_its_package(plan):
    error = failure(plan(), {'PATH': '/nowhere'})
    assert 'iox-roudi is not on the PATH' in error
    assert 'apt install ros-kilted-iceoryx-posh' in error


def test_a_roudi_that_should_run_but_does_not_is_reported(plan):
    assert 'none is running; start it by hand: iox-roudi -c' in failure(plan('running'))


def test_another_running_roudi_is_reported(plan, locked):
    error = failure(plan('start'))
    assert f'another one is running (process {os.getpid()})' in error
    assert 'roudi:=running' in error


@pytest.mark.parametrize('mode', ['auto', 'running'])
def test_a_running_roudi_is_used(plan, locked, mode):
    assert prepare(plan(mode), {'PATH': '/nowhere'}, print) is None


def test_a_roudi_that_never_becomes_ready_is_reported(plan, fake_roudi):
    fake_roudi('echo reserving; exec sleep 60')
    assert 'not ready after 3.8 s: reserving' in failure(plan())


def test_a_roudi_that_ends_at_once_is_reported(plan, fake_roudi):
    fake_roudi('echo "no permission"; exit 7')
    assert 'ended with status 7: no permission' in failure(plan())


def test_a_roudi_that_another_process_started_first_is_used(plan, fake_roudi, tmp_path):
    # It leaves the lock to a process that keeps running, like the RouDi of another process.
    fake_roudi(f'exec 9> {tmp_path}/roudi.lock; flock 9; sleep 3 > /dev/null 2>&1 & exit 1')
    assert shutil.which('flock'), 'flock is part of util-linux'
    assert prepare(plan(), os.environ, print) is None


def test_roudi_is_started_with_its_pools_and_stopped(plan, fake_roudi):
    fake_roudi('cat "$2"; echo RouDi is ready for clients; exec sleep 60')
    made = plan()
    daemon = prepare(made, os.environ, print)
    try:
        assert daemon.status() is None
    finally:
        daemon.stop()
    assert daemon.status() == -signal.SIGTERM
    assert made.files[1].path.read_text() == made.files[1].text


def test_pools_that_do_not_fit_into_shared_memory_are_reported(plan, fake_roudi):
    fake_roudi('exit 0')
    error = failure(plan(memory=2 ** 60))
    assert '/dev/shm' in error and '--shm-size=1g' in error


def test_an_rclpy_that_ignores_rmw_implementation_is_reported():
    rclpy = pytest.importorskip('rclpy')
    used = rclpy.get_rmw_implementation_identifier()
    assert make_check(MiddlewareCheck((used,), ''), os.environ) == ''
    with pytest.raises(UnsupportedError, match=f'bound to {used} and ignores'):
        make_check(MiddlewareCheck(('rmw_other_cpp',), 'ros-other'), os.environ)


def test_shared_memory_too_small_for_fast_dds_is_reported():
    problem = make_check(SharedMemoryCheck(2 ** 60, 'the segments'), {})
    assert 'the segments need 1099511627776 MiB' in problem and '--shm-size=1g' in problem
    assert make_check(SharedMemoryCheck(1, 'nobody'), {}) == ''


def test_a_small_receive_buffer_is_reported_with_the_command_to_enlarge_it():
    granted = int(Path('/proc/sys/net/core/rmem_max').read_text())
    assert make_check(ReceiveBufferCheck(granted, VGA), {}) == ''
    problem = make_check(ReceiveBufferCheck(granted + 1, VGA), {})
    assert 'frames of 640x480' in problem and 'sudo sysctl -w net.core.rmem_max=' in problem


def test_the_segment_size_in_a_profile_of_the_user_is_checked(tmp_path):
    profile = tmp_path / 'own.xml'
    with pytest.raises(UnsupportedError, match='own.xml: it cannot be read'):
        make_check(ProfileCheck(profile, 1000), {})
    profile.write_text('<segment_size>1000</segment_size>')
    assert make_check(ProfileCheck(profile, 1000), {}) == ''
    assert 'get lost' in make_check(ProfileCheck(profile, 1001), {})


def run_tool(*arguments, **environment):
    """Run vla_transport to its end."""
    return subprocess.run(
        [sys.executable, '-m', 'vla_ros.cli.transport', *arguments], text=True, timeout=30,
        capture_output=True, env={**os.environ, 'RMW_IMPLEMENTATION': '', **environment})


@pytest.mark.parametrize('transport', ['fastrtps', 'cyclonedds', 'iceoryx'])
def test_the_printed_environment_can_be_evaluated(tmp_path, transport):
    home = tmp_path / "it's a home"
    printed = run_tool('--print-env', transport, '--distro', 'jazzy', ROS_HOME=str(home))
    assert printed.returncode == 0
    assert all(line.startswith('export ') for line in printed.stdout.splitlines())
    shell = subprocess.run(
        ['sh', '-c', f'{printed.stdout}\ncat "${{FASTRTPS_DEFAULT_PROFILES_FILE:-${{CYCLONEDDS_URI'
         '#file://}}"; echo $RMW_IMPLEMENTATION'],
        text=True, capture_output=True, check=True)
    assert shell.stdout.startswith('<')
    assert ('fastrtps' in shell.stdout.split()[-1]) == (transport == 'fastrtps')


def test_an_invalid_frame_size_is_one_line_and_status_2():
    done = run_tool('--print-env', 'fastrtps', '--frame', 'big')
    assert (done.returncode, done.stdout, done.stderr.count('\n')) == (2, '', 1)
    assert 'WIDTHxHEIGHT' in done.stderr
