# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the demo prints while it runs, and at the end."""

from collections.abc import Mapping
import shutil
import time
from typing import TextIO

from vla_ros.demo.record import Record


class LiveLine:
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


def describe_state(record: Record, now: float, seconds: float) -> str:
    """Say in one line what goes out: rate, latency and the newest command."""
    command = record.commands[-1]
    values = '  '.join(f'{name} {value:+.3f}'
                       for name, value in zip(command.names, command.positions))
    return (f'{seconds:5.1f} s  {record.recent_rate(now):4.1f} Hz  '
            f'latency {1e3 * command.latency:4.0f} ms  {values}')


def describe_policy(diagnostics: Mapping[str, str]) -> str:
    """Say how the policy runs, from what the node reports in /diagnostics."""
    attention = diagnostics.get('attention', '').split(':')[0]
    return (f'{diagnostics.get("device") or "?"}, {diagnostics.get("dtype") or "?"}, '
            f'attention {attention or "?"}')


def summarize(record: Record, frames: int, seconds: float, node: Mapping[str, str],
              middleware: str) -> str:
    """
    Sum a run up.

    :param frames: published by the camera within ``seconds``.
    :param node: what the inference node last reported in /diagnostics.
    """
    p50, p99 = record.latencies_ms([50, 99])
    lines = [
        '',
        f'vla_demo: {seconds:.1f} s of camera, node and DDS, each in a process of its own',
        f'  frames published   {frames} ({frames / seconds:.1f} Hz, 640x480 rgb8)',
        f'  frames received    at {node.get("camera rate [Hz]", "?")} Hz by the node',
        f'  commands received  {len(record.commands)} ({record.rate():.1f} Hz)',
        f'  latency            p50 {p50:.1f} ms, p99 {p99:.1f} ms, from image stamp to receipt',
        f'  policy             {describe_policy(node)}',
        f'  middleware         {middleware}',
        '  commands by instruction',
    ]
    lines += [f'    {count:5d}  {instruction!r} ({distinct} different)'
              for instruction, count, distinct in record.commands_by_instruction()]
    return '\n'.join(lines)
