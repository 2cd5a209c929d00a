# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The operator's terminal: keys for decisions, and what goes on, once a second."""

import math
import select
import sys
import time

from vla_ros.recording.episode_recorder import EpisodeRecorder

#: Decision of each key.
KEYS = {'r': 'start', ' ': 'stop', 's': 'success', 'f': 'failure', 'd': 'discard', 'q': 'quit'}
HELP = 'r record, space stop, s success, f failure, d discard, q quit'


class Terminal:
    """Reads single keys from a terminal, and whole words, a line each, from anything else."""

    def __init__(self) -> None:
        self._has_keys = sys.stdin.isatty()
        self._has_screen = sys.stdout.isatty()
        self._is_open = True
        self._shown = -math.inf
        self._lines = 0

    def read(self, timeout: float) -> str:
        """Wait for a decision; empty if there is none, or no one can make any."""
        if not self._is_open:
            time.sleep(timeout)
            return ''
        if not select.select([sys.stdin], [], [], timeout)[0]:
            return ''
        word = sys.stdin.read(1) if self._has_keys else sys.stdin.readline()
        if not word:
            self._is_open = False
            return ''
        return KEYS.get(word.lower(), '') if self._has_keys else word.strip()

    def print_line(self, line: str) -> None:
        """Print a line above the table."""
        self._lines = 0
        print(line, flush=True)

    def show(self, recorder: EpisodeRecorder) -> None:
        """Show the state once a second, on a screen only."""
        now = time.monotonic()
        if not self._has_screen or now - self._shown < 1.0:
            return
        self._shown = now
        lines = table(recorder, now)
        up = f'\x1b[{self._lines}A' if self._lines else ''
        print(up + '\n'.join(f'\x1b[2K{line}' for line in lines), flush=True)
        self._lines = len(lines)


def table(recorder: EpisodeRecorder, now: float) -> list[str]:
    """
    Describe what is recorded, a line a topic.

    :param now: monotonic seconds.
    """
    free = f'{recorder.free_bytes() / 1e9:.1f} GB left'
    counters = recorder.counters
    size = sum(counter.size for counter in counters.values())
    state = (f'recording {recorder.seconds:6.1f} s, {size / 1e6:.0f} MB'
             if recorder.is_recording else 'idle')
    lines = [f'{state}, {free}; {HELP}',
             f'{"topic":<32}{"messages":>9}{"Hz":>7}{"gap s":>7}{"lost":>6}{"dropped":>8}'
             f'{"late":>6}']
    for name, counter in counters.items():
        lines.append(f'{name[:31]:<32}{counter.messages:>9}{counter.rate(now):>7.1f}'
                     f'{counter.longest_gap:>7.2f}{counter.lost:>6}{counter.dropped:>8}'
                     f'{counter.late:>6}')
    return lines
