# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Carries a plan out: writes its files, makes its checks, starts its processes, within seconds."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any
from typing import Optional

from vla_ros.errors import UnsupportedError
from vla_ros.shared_memory import is_locked
from vla_ros.shared_memory import remove_orphans
from vla_ros.shared_memory import SHARED_MEMORY
from vla_ros.transport.iceoryx import refuse_without
from vla_ros.transport.plan import Check
from vla_ros.transport.plan import ConfigurationCheck
from vla_ros.transport.plan import File
from vla_ros.transport.plan import LoopBack
from vla_ros.transport.plan import MiddlewareCheck
from vla_ros.transport.plan import Plan
from vla_ros.transport.plan import Process
from vla_ros.transport.plan import ProfileCheck
from vla_ros.transport.plan import ReceiveBufferCheck
from vla_ros.transport.plan import SharedMemoryCheck

#: Seconds after which a pre-flight has failed, whatever it waits for in the middleware.
TIME_LIMIT = 4.3
# Of these, what RouDi may take to be ready; it fills its pools first.
_START_LIMIT = 3.8
# What RouDi says before it fills each pool.
_FILLING = 'Reserving '
# Seconds that are given beyond it where a busy machine has not got to the point of failing.
_BUSY_LIMIT = 10.0

_MIB = 2 ** 20
_RECEIVE_BUFFER = Path('/proc/sys/net/core/rmem_max')
_ASK_MIDDLEWARE = 'import rclpy; print(rclpy.get_rmw_implementation_identifier())'


class Daemon:
    """A running RouDi that was started here."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        # In a session of its own: Ctrl-C must not end it before those who use it.
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True)
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._has_ended = False
        self._reader = threading.Thread(target=self._read, name='vla_roudi', daemon=True)
        self._reader.start()

    def wait_for(self, text: str, seconds: float) -> bool:
        """Wait until it prints a text; give whether it did, before it ended or time was up."""
        def has_said() -> bool:
            return any(text in line for line in self._lines)
        with self._changed:
            self._changed.wait_for(lambda: has_said() or self._has_ended, max(0.0, seconds))
            return has_said()

    def wait(self) -> int:
        """Wait until it ends; give its exit status."""
        return self._process.wait()

    def status(self) -> Optional[int]:
        """Give its exit status, None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """Give the last line that it printed."""
        with self._changed:
            return next((line for line in reversed(self._lines) if line.strip()), 'no output')

    def stop(self) -> None:
        """End it; it ends whoever still uses it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(2.0)
                except subprocess.TimeoutExpired:
                    continue
        self._reader.join(1.0)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._changed:
                    # Without the colours; the last lines are enough, it can run for months.
                    self._lines = [*self._lines[-99:], re.sub(r'\x1b\[[\d;]*m', '', line).strip()]
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


def prepare(plan: Plan, environment: Mapping[str, str], warn: Callable[[str], None]
            ) -> Optional[Daemon]:
    """
    Do everything that a plan says.

    :param environment: the user's, to which the plan's variables are added.
    :param warn: told of what works, but not well.
    :return: what was started and has to run for as long as anybody uses the transport.
    :raises UnsupportedError: the transport will not work; nothing is left running.
    """
    end = time.monotonic() + TIME_LIMIT
    variables = {**environment, **plan.environment}
    for warning in plan.warnings:
        warn(warning)
    write_files(plan.files)
    for check in plan.checks:
        problem = make_check(check, variables)
        if problem:
            warn(problem)
    daemon = _launch(plan.processes[0], variables) if plan.processes else None
    try:
        # The loop-back comes up while RouDi does: both take about a second.
        with _loop_back_process(plan.loop_back, variables) as loop_back:
            if daemon is not None and not _is_ready(daemon, plan.processes[0]):
                daemon = None
            if loop_back is not None:
                _finish_loop_back(plan, loop_back, end - time.monotonic())
    except BaseException:
        if daemon is not None:
            daemon.stop()
        raise
    return daemon


def write_files(files: Sequence[File]) -> None:
    """
    Write the files of a plan, each at once, so that nobody reads half of one.

    :raises UnsupportedError: a folder cannot be written to.
    """
    for file in files:
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            draft = file.path.with_name(f'{file.path.name}.{os.getpid()}')
            draft.write_text(file.text, encoding='utf-8')
            draft.replace(file.path)
        except OSError as error:
            raise UnsupportedError(f'file {file.path}', f'it cannot be written: {error.strerror}',
                                   'set ROS_HOME to a folder of yours') from error


def make_check(check: Check, environment: Mapping[str, str]) -> str:
    """
    Make one check.

    :return: what will not work well, empty if nothing.
    :raises UnsupportedError: what will not work at all.
    """
    return _CHECKS[type(check)](check, environment)


def _check_middleware(check: MiddlewareCheck, environment: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run([sys.executable, '-c', _ASK_MIDDLEWARE], env=dict(environment),
                                capture_output=True, text=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        raise UnsupportedError('middleware', 'rclpy does not come up',
                               'run: python3 -c "import rclpy"') from None
    found = answer.stdout.strip()
    if answer.returncode:
        raise UnsupportedError(f'middleware {check.allowed[0]}',
                               f'it cannot be loaded: {_last_line(answer.stderr)}',
                               f'install it: sudo apt install {check.package}')
    if found not in check.allowed:
        raise UnsupportedError(
            f'middleware {check.allowed[0]}', f'this rclpy is bound to {found} and ignores '
            'RMW_IMPLEMENTATION', 'use a ROS 2 installation with '
            f'{check.package}, or transport:=fastrtps')
    return ''


def _check_shared_memory(check: SharedMemoryCheck, environment: Mapping[str, str]) -> str:
    remove_orphans()
    problem = _lack_of_shared_memory(check.needed)
    if not problem:
        return ''
    # Small images arrive nevertheless, so this is no reason not to start.
    return (f'{check.user} {problem}: without them Fast DDS uses the network, where images of '
            f'more than about 0.5 MB get lost; {_MORE_SHARED_MEMORY}')


_MORE_SHARED_MEMORY = ('in a container run with --shm-size=1g, else sudo mount -o '
                       'remount,size=2g /dev/shm, or give a smaller frame:=WIDTHxHEIGHT')


def _lack_of_shared_memory(needed: int) -> str:
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return f'need {needed / _MIB:.0f} MiB of /dev/shm, which is not there'
    if free >= needed:
        return ''
    return f'need {needed / _MIB:.0f} MiB of /dev/shm, {free / _MIB:.0f} MiB are free'


def _check_receive_buffer(check: ReceiveBufferCheck, environment: Mapping[str, str]) -> str:
    try:
        granted = int(_RECEIVE_BUFFER.read_text(encoding='ascii'))
    except (OSError, ValueError):
        return ''
    if granted >= check.needed:
        return ''
    return (f'frames of {check.frame} will get lost: net.core.rmem_max is {granted} bytes; '
            f'run: sudo sysctl -w net.core.rmem_max={max(64 * _MIB, 2 * check.needed)}')


def _check_profile(check: ProfileCheck, environment: Mapping[str, str]) -> str:
    try:
        text = check.path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UnsupportedError(f'Fast DDS profile {check.path}', f'it cannot be read: {error}',
                               'correct or unset the variable that names it') from None
    sizes = [int(size) for size in re.findall(r'<segment_size>\s*(\d+)\s*<', text)]
    if sizes and max(sizes) >= check.segment:
        return ''
    return (f'{check.path} has no shared-memory transport with a segment_size of '
            f'{check.segment} bytes: best-effort images larger than half of its segment '
            '(512 KiB if it names none) get lost')


def _check_configuration(check: ConfigurationCheck, environment: Mapping[str, str]) -> str:
    try:
        text = check.path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UnsupportedError(f'CYCLONEDDS_URI {check.path}', f'it cannot be read: {error}',
                               'correct or unset it') from None
    refuse_without(check.element, text)
    return ''


_CHECKS: dict[type, Callable[[Any, Mapping[str, str]], str]] = {
    MiddlewareCheck: _check_middleware,
    SharedMemoryCheck: _check_shared_memory,
    ReceiveBufferCheck: _check_receive_buffer,
    ProfileCheck: _check_profile,
    ConfigurationCheck: _check_configuration,
}


def _launch(process: Process, environment: Mapping[str, str]) -> Optional[Daemon]:
    """Start RouDi as its mode says; None if another one does the work."""
    if is_locked(process.lock):
        if process.mode == 'start':
            raise UnsupportedError('RouDi', f'another one is running{_owner(process.lock)}, and a '
                                   'machine has only one', 'stop it, or use roudi:=running')
        return None
    if process.mode == 'running':
        raise UnsupportedError('RouDi', 'none is running', _by_hand(process))
    if shutil.which(process.command[0], path=environment.get('PATH')) is None:
        raise UnsupportedError('RouDi', f'{process.command[0]} is not on the PATH', 'install it: '
                               f'sudo apt install {process.package}, or use transport:=fastrtps')
    problem = _lack_of_shared_memory(process.memory)
    if problem:
        raise UnsupportedError('RouDi', f'its pools {problem}', _MORE_SHARED_MEMORY)
    return Daemon(process.command, environment)


def _is_ready(daemon: Daemon, process: Process) -> bool:
    """Wait until RouDi serves; False if somebody else's does, which was faster."""
    if daemon.wait_for(process.ready, _START_LIMIT):
        return True
    # Filling its pools is work, and takes longer on a busy machine.
    if _FILLING in daemon.last_words() and daemon.wait_for(process.ready, _BUSY_LIMIT):
        return True
    status = daemon.status()
    if status is None:
        raise UnsupportedError('RouDi', 'it was started, but is not ready after '
                               f'{_START_LIMIT:g} s: {daemon.last_words()}', _by_hand(process))
    if process.mode == 'auto' and is_locked(process.lock):
        return False
    raise UnsupportedError('RouDi', f'it ended with status {status}: {daemon.last_words()}',
                           _by_hand(process))


def _by_hand(process: Process) -> str:
    return f'start it by hand: {" ".join(process.command)}'


def _owner(lock: Path) -> str:
    """Name the process that holds a lock file, if it can be seen from here."""
    try:
        inode = lock.stat().st_ino
        for line in Path('/proc/locks').read_text(encoding='ascii').splitlines():
            fields = line.split()
            if fields[1] == 'FLOCK' and fields[5].endswith(f':{inode}'):
                return f' (process {fields[4]})'
    except (OSError, IndexError):
        pass
    return ''


def _waits_for_roudi(said: str) -> bool:
    has_waited, was_served = 'RouDi not found' in said, 'RouDi found' in said
    return has_waited and not was_served or 'Timeout registering at RouDi' in said


def _give_more_time(process: 'subprocess.Popen[str]') -> tuple[str, Optional[int]]:
    try:
        said, _ = process.communicate(timeout=_BUSY_LIMIT)
        return said, process.returncode
    except subprocess.TimeoutExpired as error:
        return (error.output or b'').decode(errors='replace'), None


@contextmanager
def _loop_back_process(loop_back: Optional[LoopBack], environment: Mapping[str, str]
                       ) -> Iterator[Optional['subprocess.Popen[str]']]:
    if loop_back is None:
        yield None
        return
    command = [sys.executable, '-m', 'vla_ros.transport.loop_back', str(loop_back.size)]
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors='replace',
                               start_new_session=True)
    try:
        yield process
    finally:
        _kill_group(process)


def _finish_loop_back(plan: Plan, process: 'subprocess.Popen[str]', seconds: float) -> None:
    """
    Wait until an image has gone from one process to another.

    :raises UnsupportedError: it did not arrive in time, or not over shared memory.
    """
    assert plan.loop_back is not None
    status: Optional[int] = None
    try:
        said, _ = process.communicate(timeout=max(0.1, seconds))
        status = process.returncode
    except subprocess.TimeoutExpired as error:
        # Waiting for RouDi is a failure; that both processes are not up yet is a busy machine.
        said = (error.output or b'').decode(errors='replace')
        if not _waits_for_roudi(said):
            said, status = _give_more_time(process)
    if status == 0:
        return
    what = f'transport {plan.transport}'
    if 'CHUNK_IS_TOO_LARGE' in said:
        raise UnsupportedError(
            what, f'the pools of the running RouDi have no room for a frame of {plan.frame} '
            f'({plan.loop_back.size} bytes)', 'stop it and start it with larger ones: '
            + ' '.join(plan.processes[0].command))
    if _waits_for_roudi(said):
        raise UnsupportedError(what, 'RouDi does not answer',
                               f'restart it: {" ".join(plan.processes[0].command)}')
    problem = _last_line(said) if status else 'no image arrived in time'
    raise UnsupportedError(what, f'the self-test failed: {problem}',
                           f'use transport:=fastrtps or cyclonedds ({plan.loop_back.hint})')


def _kill_group(process: 'subprocess.Popen[str]') -> None:
    """End the loop-back and the process that it has started; either may hang or be gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else 'it says nothing'
