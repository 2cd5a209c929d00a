# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""RouDi, the daemon of iceoryx: started once on a machine, and watched while it starts."""

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
import re
import shutil
import signal
import subprocess
import threading

from vla_ros.errors import UnsupportedError
from vla_ros.transport.checks import MORE_SHARED_MEMORY
from vla_ros.transport.checks import shared_memory_shortage
from vla_ros.transport.orphans import is_locked
from vla_ros.transport.plan import Process

#: Seconds that are given beyond all limits where a busy machine has not got to the point of
#: failing.
BUSY_LIMIT = 10.0
# Seconds that RouDi may take to be ready; it fills its pools first.
_START_LIMIT = 3.8
# What it says before it fills each pool.
_FILLING = 'Reserving '


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
        """Wait until it prints a text; return whether it did, before it ended or time was up."""
        def has_printed() -> bool:
            return any(text in line for line in self._lines)
        with self._changed:
            self._changed.wait_for(lambda: has_printed() or self._has_ended, max(0.0, seconds))
            return has_printed()

    def wait(self) -> int:
        """Wait until it ends; return its exit status."""
        return self._process.wait()

    def status(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self._process.poll()

    def last_line(self) -> str:
        """Return the last line that it printed."""
        with self._changed:
            return next((line for line in reversed(self._lines) if line.strip()), 'no output')

    def stop(self) -> None:
        """End it; processes that still use it end, too."""
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
        # The end of its output comes a moment before its exit status.
        self._process.wait()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


def launch_roudi(process: Process, environment: Mapping[str, str]) -> Daemon | None:
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
    problem = shared_memory_shortage(process.memory)
    if problem:
        raise UnsupportedError('RouDi', f'its pools {problem}', MORE_SHARED_MEMORY)
    return Daemon(process.command, environment)


def is_ready(daemon: Daemon, process: Process) -> bool:
    """Wait until RouDi serves; False if somebody else's does, which was faster."""
    if daemon.wait_for(process.ready, _START_LIMIT):
        return True
    # Filling its pools is work, and takes longer on a busy machine.
    if _FILLING in daemon.last_line() and daemon.wait_for(process.ready, BUSY_LIMIT):
        return True
    status = daemon.status()
    if status is None:
        raise UnsupportedError('RouDi', 'it was started, but is not ready after '
                               f'{_START_LIMIT:g} s: {daemon.last_line()}', _by_hand(process))
    if process.mode == 'auto' and is_locked(process.lock):
        return False
    raise UnsupportedError('RouDi', f'it ended with status {status}: {daemon.last_line()}',
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


def waits_for_roudi(said: str) -> bool:
    """Return by what a process printed whether it waits for a RouDi in vain."""
    has_waited, was_served = 'RouDi not found' in said, 'RouDi found' in said
    return has_waited and not was_served or 'Timeout registering at RouDi' in said
