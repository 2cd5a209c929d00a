# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the demo prints while it runs, and at the end."""

from collections.abc import Mapping
import shutil
import time
from typing import TextIO

from vla_ros.demo.record import Attempt
from vla_ros.demo.record import Record


class StatusLine:
    """A line that is rewritten in place; away from a terminal, one line a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._in_place = stream.isatty()
        self._interval = 0.1 if self._in_place else 1.0
        self._last = 0.0
        self._shown = ''

    def show(self, text: str) -> None:
        """Show the newest state, unless it is no news or the last one was shown just now."""
        now = time.monotonic()
        if text == self._shown or now - self._last < self._interval:
            return
        self._shown, self._last = text, now
        if self._in_place:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f'\r\x1b[K{text[:width]}')
        else:
            self._stream.write(f'{text}\n')
        self._stream.flush()

    def print(self, text: str) -> None:  # noqa: A003
        """Print lines that stay, below the state shown last, which stays too."""
        if self._in_place and self._shown:
            self._stream.write('\n')
        self._shown = ''
        self._stream.write(f'{text}\n')
        self._stream.flush()


def describe_state(instruction: str, seconds: float, node: Mapping[str, str],
                   done: int, played: int) -> str:
    """
    Describe the state in one line.

    :param seconds: simulated, since the instruction was given.
    :param node: what the inference node last reported in /diagnostics.
    """
    state = node.get('state', '?')
    if state not in ('RUNNING', '?'):
        state = f'{state}: {node.get("message", "")}'
    age = node.get('last age [s]', 'nan')
    return (f'{seconds:5.1f} s  {instruction:<24}  {state}  '
            f'{float(node.get("inference rate [Hz]", "nan")):4.1f} Hz  '
            f'age {1e3 * float(age):3.0f} ms  {done} of {played} done')


def describe_attempt(attempt: Attempt) -> str:
    """Return how one instruction went."""
    if attempt.succeeded:
        return f'  done      {attempt.instruction} ({attempt.seconds:.1f} s)'
    reason = (f'it happened to the {attempt.decided} block' if attempt.decided
              else f'given up after {attempt.seconds:.0f} s')
    return f'  not done  {attempt.instruction}: {reason}'


def summarize(record: Record, node: Mapping[str, str], wall: float, middleware: str) -> str:
    """
    Sum a run up.

    :param node: what the inference node last reported in /diagnostics.
    :param wall: seconds that it took.
    """
    p50, p99 = record.ages_ms((50, 99))
    succeeded = sum(attempt.succeeded for attempt in record.attempts)
    simulated = sum(attempt.seconds for attempt in record.attempts)
    return '\n'.join([
        '',
        f'vla_demo: {succeeded} of {len(record.attempts)} '
        f'instructions fulfilled, {simulated:.0f} s of the arm in {wall:.0f} s',
        f'  results     {len(record.results)} ({record.rate():.1f} Hz)',
        f'  age         p50 {p50:.0f} ms, p99 {p99:.0f} ms, from the image to its command',
        f'  policy      {node.get("device") or "?"}, {node.get("dtype") or "?"}, attention '
        f'{node.get("attention", "").split(":")[0] or "?"}',
        f'  middleware  {middleware}'])
