# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Child processes that end with their parent."""

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
import signal
import subprocess
import time

from vla_ros.errors import VlaError

# Signals in the order of their force, with the seconds that each is given to work.
_STOP = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))


class ProcessError(VlaError):
    """A child process that ended by itself."""

    def __init__(self, name: str, status: int, log: Path) -> None:
        lines = log.read_text(encoding='utf-8', errors='replace').split('\n')
        last = next((line.strip() for line in reversed(lines) if line.strip()), 'no output')
        super().__init__(f'{name} ended with status {status}: {last} (all of it: {log})')


class Processes:
    """A group of child processes; leaving the ``with`` block ends them all."""

    def __init__(self, log_folder: Path, environment: Mapping[str, str]) -> None:
        self._log_folder = log_folder
        # Python buffers output to a file, and would write it behind later lines of stderr.
        self._environment = {'PYTHONUNBUFFERED': '1', **environment}
        self._children: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> 'Processes':
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process; what it prints goes to ``<log folder>/<name>.log``."""
        with self.log(name).open('wb') as log:
            # In a session of its own, Ctrl-C reaches the parent alone, which ends the others.
            self._children[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self._environment, start_new_session=True)

    def log(self, name: str) -> Path:
        """Return the file that holds the output of a process."""
        return self._log_folder / f'{name}.log'

    def check(self) -> None:
        """
        Notice a process that ended.

        :raises ProcessError: one did; its last line is in the sentence.
        """
        for name, child in self._children.items():
            status = child.poll()
            if status is not None:
                raise ProcessError(name, status, self.log(name))

    def check_ended_well(self) -> None:
        """
        Make sure that all ended as they were asked to.

        :raises ProcessError: one crashed on its way out, or had to be killed.
        """
        for name, child in self._children.items():
            if child.returncode != 0:
                raise ProcessError(name, child.returncode, self.log(name))

    def stop(self) -> None:
        """End all processes, gently first."""
        for number, patience in _STOP:
            running = [child for child in self._children.values() if child.poll() is None]
            for child in running:
                child.send_signal(number)
            _wait(running, patience)


def _wait(children: Sequence[subprocess.Popen], seconds: float) -> None:
    """Wait until all have ended, or the time is over."""
    deadline = time.monotonic() + seconds
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return
