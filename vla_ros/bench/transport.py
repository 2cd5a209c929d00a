# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench transport``: how many images arrive, how old, and at what cost, by transport."""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import asdict
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
import platform
import subprocess
import sys
import threading
import time
from typing import Any

from matplotlib.figure import Figure

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.errors import VlaError
from vla_ros.transport.checks import make_check
from vla_ros.transport.plan import DEFAULT_DISTRIBUTION
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import MiddlewareCheck
from vla_ros.transport.planner import make_plan
from vla_ros.transport.preflight import prepare

HELP = 'how many images arrive, how old, and at what cost, by transport'

#: Width and height in pixels, and frames per second, of what is sent.
SIZES = {'224': (224, 224, 30.0), '640x480': (640, 480, 30.0), '1080p': (1920, 1080, 30.0),
         '4k': (3840, 2160, 10.0)}
#: What is compared: the transport alone, with all that its plan says, or with part of it.
PROFILES = {'fastrtps': ('default', 'no malloc variables', 'plan'),
            'cyclonedds': ('default', 'plan'), 'iceoryx': ('plan',), 'iceoryx2': ('native',)}
#: Copies of the pixels from the publisher's array to the receiver's: read from the sources of
#: rclpy and the middleware, for cyclonedds an estimate.
COPIES = {'fastrtps': 7, 'cyclonedds': 8, 'iceoryx': 5, 'iceoryx2': 0}

# Variables of a plan, which must not reach what is to run without one.
_PLANNED = ('RMW_IMPLEMENTATION', 'FASTRTPS_DEFAULT_PROFILES_FILE',
            'FASTDDS_DEFAULT_PROFILES_FILE', 'CYCLONEDDS_URI', 'MALLOC_MMAP_THRESHOLD_',
            'MALLOC_TRIM_THRESHOLD_')
# Seconds that two processes are given to find each other, and late frames to arrive.
_MATCH_LIMIT = 30.0
_GRACE = 1.0


@dataclass(frozen=True)
class Row:
    """
    One stream.

    :param profile: what the transport was given: one of :data:`PROFILES`.
    :param size: one of :data:`SIZES`.
    :param sent: frames; of these, ``received`` reached the callback.
    :param age_p50_ms: from before publish() to the callback; NaN if nothing arrived.
    :param cpu_send_ms: CPU time of the sending process for each frame.
    :param cpu_receive_ms: that of the receiving process, for each frame received.
    """

    transport: str
    profile: str
    size: str
    rate_hz: float
    sent: int
    received: int
    age_p50_ms: float
    age_p99_ms: float
    cpu_send_ms: float
    cpu_receive_ms: float
    copies: int


class _End:
    """A process of :mod:`vla_ros.bench.image_stream`."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'vla_ros.bench.image_stream', *arguments], text=True,
            env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._has_ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def next_line(self, what: str, seconds: float) -> str:
        """
        Return the next line.

        :raises UnsupportedError: it does not come in time, or at all.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._has_ended, seconds)
            if self._lines:
                return self._lines.pop(0)
        problem = f'the process ended with status {self._process.poll()}' if self._has_ended else (
            f'not within {seconds:g} s')
        raise UnsupportedError('vla_bench transport', f'{what}: {problem}',
                               'is the transport set up? see vla_doctor')

    def start(self) -> None:
        """Send the line that it waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write('\n')
        self._process.stdin.flush()

    def close(self) -> None:
        """End the process: by itself, as one that is killed makes RouDi abort, else by force."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # iceoryx has things to say, too.
            if line.startswith(('{', 'warm')):
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


def measure(transport: str, profile: str, size: str, count: int,
            environment: Mapping[str, str]) -> Row:
    """
    Send one stream from a process to another.

    :raises UnsupportedError: they do not find each other.
    """
    width, height, rate = SIZES[size]
    role = '_iceoryx2' if transport == 'iceoryx2' else ''
    arguments = [f'/vla_bench_{time.time_ns()}', str(width), str(height), str(rate), str(count)]
    receiver = _End([f'receive{role}', *arguments], environment)
    sender = _End([f'send{role}', *arguments], environment)
    try:
        receiver.next_line(f'{transport}: no image of one pixel arrived', _MATCH_LIMIT)
        sender.start()
        sent = json.loads(sender.next_line(f'{transport}: the sender did not finish',
                                           _MATCH_LIMIT + 5 * count / rate))
        threading.Event().wait(_GRACE)
        receiver.start()
        got = json.loads(receiver.next_line(f'{transport}: the receiver did not report', 10.0))
    finally:
        sender.close()
        receiver.close()
    return Row(transport, profile, size, rate, sent['sent'], got['received'], got['age_p50_ms'],
               got['age_p99_ms'], sent['cpu_ms'], got['cpu_ms'], COPIES[transport])


def measure_all(transports: Sequence[str], sizes: Sequence[str], count: int,
                report: Callable[[str], None]) -> list[Row]:
    """
    Measure each transport that the machine has, with each of its profiles, in each size.

    :param report: told of each result, and of each transport that is not there.
    """
    rows = []
    for transport in transports:
        try:
            for profile in PROFILES[transport]:
                with profile_environment(transport, profile) as environment:
                    for size in sizes:
                        rows.append(measure(transport, profile, size, count, environment))
                        report(_line(rows[-1]))
        except VlaError as error:
            report(f'{transport}: left out: {error}')
    return rows


@contextmanager
def profile_environment(transport: str, profile: str) -> Iterator[dict[str, str]]:
    """
    Yield the variables for a profile; what the plan starts runs within the block.

    :raises UnsupportedError: the transport does not work here.
    """
    bare = {name: value for name, value in os.environ.items() if name not in _PLANNED}
    # What is measured must not disturb other machines.
    bare.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    if transport == 'iceoryx2':
        yield bare
        return
    distribution = bare.get('ROS_DISTRO') or DEFAULT_DISTRIBUTION
    width, height, _ = SIZES['4k']
    plan = make_plan(distribution, transport, bare, FrameSize(width, height))
    if profile == 'default':
        rmw = plan.environment['RMW_IMPLEMENTATION']
        make_check(MiddlewareCheck((rmw,), rmw), {**bare, 'RMW_IMPLEMENTATION': rmw})
        yield {**bare, 'RMW_IMPLEMENTATION': rmw}
        return
    daemon = prepare(plan, bare, lambda warning: print(f'vla_bench: {warning}', file=sys.stderr))
    planned = {name: value for name, value in plan.environment.items()
               if profile == 'plan' or not name.startswith('MALLOC_')}
    try:
        yield {**bare, **planned}
    finally:
        if daemon is not None:
            daemon.stop()


def _line(row: Row) -> str:
    return (f'{row.transport:<11} {row.profile:<20} {row.size:>8} {row.rate_hz:>4g} Hz  '
            f'{100 * row.received / row.sent:>4.0f} %  age p50 {row.age_p50_ms:>6.1f}  '
            f'p99 {row.age_p99_ms:>6.1f} ms')


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw delivered ratio and age by size."""
    figure = Figure(figsize=(13, 5), layout='constrained')
    delivered, age = figure.subplots(1, 2)
    sizes = list(dict.fromkeys(row.size for row in rows))
    lines = list(dict.fromkeys((row.transport, row.profile) for row in rows))
    width = 0.8 / max(len(lines), 1)
    for number, line in enumerate(lines):
        own = [row for row in rows if (row.transport, row.profile) == line]
        places = [sizes.index(row.size) + (number - len(lines) / 2 + 0.5) * width for row in own]
        delivered.bar(places, [100 * row.received / row.sent for row in own], width,
                      label=', '.join(line))
        spread = [max(0.0, row.age_p99_ms - row.age_p50_ms) for row in own]
        age.errorbar(places, [row.age_p50_ms for row in own], [[0.0] * len(own), spread],
                     fmt='o', label=', '.join(line))
    delivered.set_ylabel('delivered [%]')
    age.set_ylabel('age at the callback, p50 up to p99 [ms]')
    age.set_yscale('log')
    for axes in (delivered, age):
        axes.set_xticks(range(len(sizes)), sizes)
        axes.grid(axis='y', alpha=0.3)
    age.legend(fontsize='small')
    figure.savefig(path, dpi=110)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.add_argument('--transports', nargs='+', choices=PROFILES, default=list(PROFILES),
                        help='what to measure (default: everything that is here)')
    parser.add_argument('--sizes', nargs='+', choices=SIZES, default=list(SIZES),
                        help='of the images (default: all)')
    parser.add_argument('--frames', type=int, default=100, metavar='N',
                        help='in each stream (default: %(default)s)')
    parser.add_argument('--plot', metavar='FILE', help='write a PNG of delivery and age')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; see the page docs/transports.md for what the numbers mean."""
    if arguments.frames < 1:
        raise ParameterError('--frames', arguments.frames, 'at least 1')
    rows = measure_all(arguments.transports, arguments.sizes, arguments.frames,
                       lambda line: print(line, file=sys.stderr, flush=True))
    if arguments.plot:
        plot(rows, Path(arguments.plot))
    # JSON knows no NaN: an age that there is none of is null.
    return {'machine': _machine(), 'rows': [
        {name: None if isinstance(value, float) and math.isnan(value) else value
         for name, value in asdict(row).items()} for row in rows]}


def _machine() -> str:
    distribution = os.environ.get('ROS_DISTRO') or f'{DEFAULT_DISTRIBUTION} from Python packages'
    buffer = Path('/proc/sys/net/core/rmem_max').read_text(encoding='ascii').strip()
    return (f'{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, kernel {platform.release()}, '
            f'net.core.rmem_max {buffer}, ROS {distribution}, discovery '
            f'{os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")}')


def table(result: Mapping[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [f'Machine: {result["machine"]}.', '',
             '| transport | set up | size | Hz | delivered | age p50 ms | age p99 ms | CPU ms a '
             'frame, sender + receiver | copies |', '| --- ' * 9 + '|']
    for row in result['rows']:
        ages = ['-' if row[name] is None else f'{row[name]:.1f}'
                for name in ('age_p50_ms', 'age_p99_ms')]
        lines.append('| ' + ' | '.join([
            row['transport'], row['profile'], row['size'], f'{row["rate_hz"]:g}',
            f'{row["received"]} of {row["sent"]}', *ages,
            f'{row["cpu_send_ms"]:.1f} + {row["cpu_receive_ms"]:.1f}', str(row['copies'])]) + ' |')
    return '\n'.join(lines)
