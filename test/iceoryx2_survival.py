# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Kills either process of an iceoryx2 connection, and measures the time until frames flow again.

By hand: ``python test/iceoryx2_survival.py 50`` kills camera and receiver 50 times each.
"""

from collections.abc import Callable
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import numpy as np

from vla_ros.camera.iceoryx2 import FrameReceiver
from vla_ros.camera.iceoryx2 import Iceoryx2Camera

WIDTH, HEIGHT = 1920, 1080
DEADLINE = 20.0


def send(topic: str) -> None:
    """Run a camera whose frames have their number in every pixel."""
    camera = Iceoryx2Camera(topic, WIDTH * HEIGHT * 3)
    number = 0
    while True:
        with camera.frame(HEIGHT, WIDTH, 'rgb8') as pixels:
            pixels[:] = number % 251
        number += 1
        time.sleep(0.01)


def receive(topic: str) -> None:
    """Print a line for each frame, like a node that keeps the newest one."""
    held = []

    def take(frame):
        held[:] = [frame]
        torn = np.ptp(frame.data[::4097]) > 0
        print('torn' if torn else 'frame', frame.sequence, flush=True)
    FrameReceiver(topic, take)
    threading.Event().wait()


class Endpoint:
    """One of the two processes, and the lines that it prints."""

    def __init__(self, role: str, topic: str) -> None:
        self.started = time.monotonic()
        self._process = subprocess.Popen([sys.executable, __file__, role, topic],
                                         stdout=subprocess.PIPE, text=True)
        self._changed = threading.Condition()
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, condition: Callable[[list[str]], bool]) -> float:
        """Wait until the lines fulfil a condition; return the monotonic time in s."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.lines), DEADLINE), self.lines[-3:]
            return time.monotonic()

    def kill(self) -> None:
        """Kill the process."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.strip())
                self._changed.notify_all()


@contextmanager
def connection(topic):
    """Run a camera and a receiver, and kill both at the end."""
    ends = {role: Endpoint(role, topic) for role in ('receive', 'send')}
    try:
        yield ends
    finally:
        for end in ends.values():
            end.kill()


def survive(kills: int, topic: str) -> dict[str, list[float]]:
    """
    Kill each end so many times.

    :returns: by end, the seconds from its restart until frames flowed.
    """
    seconds: dict[str, list[float]] = {'send': [], 'receive': []}
    with connection(topic) as ends:
        ends['receive'].wait_for(lambda lines: len(lines) > 3)
        for role in ['send', 'receive'] * kills:
            ends[role].kill()
            seen = len(ends['receive'].lines) if role == 'send' else 0
            ends[role] = Endpoint(role, topic)
            moment = ends['receive'].wait_for(lambda lines: len(lines) > seen)
            seconds[role].append(moment - ends[role].started)
        lines = ends['receive'].lines
        assert not any(line.startswith('torn') for line in lines), 'memory was reused'
    return seconds


def shared_bytes() -> int:
    """Return the bytes that iceoryx2 has in shared memory."""
    return sum(path.stat().st_size for path in Path('/dev/shm').glob('iox2_*'))


def clean_up() -> None:
    """Start and end a process, which removes shared memory of killed ones."""
    FrameReceiver(f'/clean_{os.getpid()}', lambda frame: None).stop()


if __name__ == '__main__':
    if sys.argv[1] in ('send', 'receive'):
        {'send': send, 'receive': receive}[sys.argv[1]](sys.argv[2])
    clean_up()
    before = shared_bytes()
    for role, times in survive(int(sys.argv[1]), f'/survival_{os.getpid()}').items():
        print(f'{role}: {len(times)} kills, back after {np.median(times):.2f} s (median), '
              f'{max(times):.2f} s (longest)')
    killed = shared_bytes()
    clean_up()
    print(f'/dev/shm: {before} bytes before, {killed} after the last kill, '
          f'{shared_bytes()} after the next start')
