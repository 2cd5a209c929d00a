# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench serve``: how many robots one ``vla_serve`` sustains."""

import argparse
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextlib import contextmanager
from http.client import HTTPConnection
from http.client import HTTPException
import json
import math
import os
import subprocess
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from vla_ros.bench.machine import installed
from vla_ros.bench.machine import processor_name
from vla_ros.bench.sizes import parse_size
from vla_ros.bench.timing import summarize
from vla_ros.data.json_numpy import dumps
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.policy.choices import DEVICES
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.util.demo_checkpoint import checkpoint_folder
from vla_ros.util.demo_checkpoint import ensure_checkpoint

HELP = 'how many robots one vla_serve sustains'

# Connections of the client that asks without a pause.
_BUSY_CONNECTIONS = 8
# In place of a status.
_NOT_SENT = -1
_INSTRUCTIONS = ('pick up the cup', 'open the drawer', 'push the red block to the left',
                 'put the spoon on the towel')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this benchmark takes."""
    server = parser.add_mutually_exclusive_group()
    server.add_argument('--checkpoint', metavar='DIR', help="to serve; default: the demo's")
    server.add_argument('--url', metavar='URL', help='of a vla_serve that runs already')
    parser.add_argument('--unnorm-key', metavar='K',
                        help='dataset whose statistics scale the action')
    parser.add_argument('--device', default='auto', choices=DEVICES)
    parser.add_argument('--robots', default='1,2,4,8', metavar='LIST', help='robots at a time')
    parser.add_argument('--rate', type=float, default=5.0, metavar='HZ', help='of each robot')
    parser.add_argument('--seconds', type=float, default=10.0, help='of each load')
    parser.add_argument('--size', default='224x224', metavar='WxH', help='of the frames')
    parser.add_argument('--max-batch', type=int, default=8, metavar='N',
                        help='requests that the server infers from in one pass')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """
    Measure.

    :raises ParameterError: an option is out of its range.
    """
    robots = _read_robots(arguments.robots)
    for name in ('rate', 'seconds'):
        if not 0 < getattr(arguments, name) < math.inf:
            raise ParameterError(f'--{name}', getattr(arguments, name), 'above 0')
    width, height = parse_size(arguments.size)
    with _server(arguments) as url:
        # As a robot would: what is no vla_serve is named in one line.
        spec = load_policy(PolicyConfig(policy='remote', url=url, deadline_s=30.0)).spec
        load = LoadTest(url, _bodies(spec, (height, width), 1 / arguments.rate), arguments.rate,
                        arguments.seconds)
        load.measure(1, 2.0)  # warm-up
        rows = [load.measure(count) for count in robots]
        alone = load.measure(1)
        beside = load.measure(1, busy=_BUSY_CONNECTIONS)
    sustained = [row['robots'] for row in rows if row['sustained']]
    return {'sustained_robots': max(sustained, default=0), 'rate_hz': arguments.rate,
            'rows': rows,
            'beside_busy': {'connections': _BUSY_CONNECTIONS, 'alone': alone, 'beside': beside},
            'policy': {'checkpoint': spec.checkpoint, 'device': spec.device,
                       'dtype': spec.dtype, 'image_count': spec.image_count},
            'size': arguments.size, 'machine': {
                'device': processor_name(), 'cores': len(os.sched_getaffinity(0)),
                'load_average': round(os.getloadavg()[0], 2), 'numpy': installed('numpy')}}


def table(result: Mapping[str, Any]) -> str:
    """Return the same as Markdown."""
    period_ms = 1e3 / result['rate_hz']
    lines = [f'{result["sustained_robots"]} robots at {result["rate_hz"]:g} Hz, each reply '
             f'within {period_ms:g} ms in 99 of 100 cases, none failed', '',
             '| robots | due | completed | refused | skipped | failed | p50 ms | p99 ms | max ms '
             '| batches | sustained |', '| --- |' + ' --- |' * 10]
    rows = [(str(row['robots']), row) for row in result['rows']]
    beside = result['beside_busy']
    rows += [('1, alone', beside['alone']),
             (f'1, beside {beside["connections"]} busy connections', beside['beside'])]
    for name, row in rows:
        batches = ', '.join(f'{count} of {size}' for size, count in row['batches'].items())
        lines.append(f'| {name} | {row["due"]} | {row["completed"]} | {row["refused"]} '
                     f'| {row["skipped"]} | {row["failed"]} | {row.get("p50_ms", "-")} '
                     f'| {row.get("p99_ms", "-")} | {row.get("max_ms", "-")} | {batches} '
                     f'| {"yes" if row["sustained"] else "no"} |')
    return '\n'.join(lines)


class LoadTest:
    """
    Robots that ask a server in an open loop.

    A robot's requests are due at times that no reply moves, and a reply's delay counts from when
    its request was due. As a robot drops a frame while it waits, a request that is a period late
    because the one before is still out is not sent, and counted. On this machine each robot has
    an address of its own, as it has on a network.
    """

    def __init__(self, url: str, bodies: Sequence[bytes], rate: float, seconds: float) -> None:
        """Set the load; bodies of ``/infer`` go round."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or '', parts.port
        self._is_local = self._host in ('127.0.0.1', 'localhost')
        key = os.environ.get('VLA_API_KEY')
        self._headers = {'Content-Type': 'application/json',
                         **({'Authorization': f'Bearer {key}'} if key else {})}
        self._bodies = bodies
        self._period = 1 / rate
        self._seconds = seconds

    def measure(self, robots: int, seconds: float | None = None,
                busy: int = 0) -> dict[str, Any]:
        """
        Run clients for a while, beside the connections of one client that never pauses.

        :returns: requests by outcome, milliseconds of the replies, batches by size.
        """
        before = self._batches()
        ended = threading.Event()
        with ThreadPoolExecutor(robots + busy) as pool:
            for _ in range(busy):
                pool.submit(self._saturate, ended)
            start = time.monotonic() + 0.1
            futures = [pool.submit(self._request_in_time, number, start + self._period * number
                                   / robots, seconds or self._seconds)
                       for number in range(robots)]
            try:
                outcomes = [outcome for future in futures for outcome in future.result()]
            finally:
                ended.set()
        delays = [delay for status, delay in outcomes if status == 200]
        refused = sum(status == 503 for status, _ in outcomes)
        skipped = sum(status == _NOT_SENT for status, _ in outcomes)
        row: dict[str, Any] = {
            'robots': robots, 'due': len(outcomes), 'completed': len(delays), 'refused': refused,
            'skipped': skipped, 'failed': len(outcomes) - len(delays) - refused - skipped,
            **(summarize(delays) if delays else {})}
        row['sustained'] = (len(delays) == len(outcomes)
                            and row['p99_ms'] < self._period * 1e3)
        row['batches'] = {size: count - before.get(size, 0)
                          for size, count in self._batches().items()
                          if count > before.get(size, 0)}
        return row

    def _request_in_time(self, number: int, start: float,
                         seconds: float) -> list[tuple[int, float]]:
        """Return status and milliseconds since it was due of each request."""
        outcomes = []
        connection = self._connect(f'127.0.{1 + number // 250}.{1 + number % 250}')
        with closing(connection):
            for index in range(max(1, round(seconds / self._period))):
                due = start + index * self._period
                time.sleep(max(0.0, due - time.monotonic()))
                if time.monotonic() > due + self._period:
                    outcomes.append((_NOT_SENT, 0.0))
                    continue
                status = self._post(connection, number + index)
                outcomes.append((status, (time.monotonic() - due) * 1e3))
        return outcomes

    def _saturate(self, ended: threading.Event) -> None:
        with closing(self._connect('127.0.0.2')) as connection:
            while not ended.is_set():
                self._post(connection, 0)

    def _post(self, connection: HTTPConnection, number: int) -> int:
        """Send a request; return the status, 0 if no reply came."""
        try:
            connection.request('POST', '/infer', self._bodies[number % len(self._bodies)],
                               self._headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException):
            connection.close()
            return 0
        return response.status

    def _batches(self) -> dict[str, int]:
        with closing(self._connect('127.0.0.1')) as connection:
            connection.request('GET', '/stats', headers=self._headers)
            counted: dict[str, int] = json.loads(connection.getresponse().read())['batches']
        return counted

    def _connect(self, source: str) -> HTTPConnection:
        return HTTPConnection(self._host, self._port, timeout=30.0,
                              source_address=(source, 0) if self._is_local else None)


def _read_robots(text: str) -> list[int]:
    numbers = text.split(',')
    if not all(number.isdecimal() and 0 < int(number) <= 60 for number in numbers):
        raise ParameterError('--robots', text, 'whole numbers from 1 to 60, like 1,2,4')
    return [int(number) for number in numbers]


def _bodies(spec: Any, shape: tuple[int, int], deadline_s: float) -> list[bytes]:
    """Make bodies of ``/infer``, each with other pixels and another instruction."""
    random = np.random.default_rng(0)
    bodies = []
    for number, instruction in enumerate(_INSTRUCTIONS):
        images = [random.integers(0, 256, (*shape, 3), np.uint8) for _ in range(spec.image_count)]
        bodies.append(dumps({
            'images': images, 'instruction': instruction, 'request': number,
            'proprio': np.zeros(spec.proprio_dim) if spec.proprio_dim else None,
            'deadline_s': deadline_s}).encode())
    return bodies


@contextmanager
def _server(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the address of the server, one of our own if none was named."""
    if arguments.url:
        yield arguments.url
        return
    checkpoint = arguments.checkpoint or str(ensure_checkpoint(checkpoint_folder()))
    command = [sys.executable, '-m', 'vla_ros.cli.serve', '--checkpoint', checkpoint, '--device',
               arguments.device, '--port', '0', '--max-batch', str(arguments.max_batch),
               *(['--unnorm-key', arguments.unnorm_key] if arguments.unnorm_key else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # empty where it ended
        if ' listening on ' not in line:
            raise UnsupportedError('vla_bench serve', 'vla_serve did not start',
                                   'see what it says')
        yield line.split(' on ')[1].strip().removesuffix('/act')
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
