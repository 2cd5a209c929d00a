# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Robots that send requests to vla_serve continuously, and the outcome of each request.

``python fleet_load.py http://127.0.0.1:8000 ROBOTS SECONDS [RATE [DEADLINE]]`` prints one JSON
object; meanwhile something is done to the server.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.client import HTTPException
import json
import os
import sys
import time
from urllib.parse import urlsplit

import numpy as np

from vla_ros.data.json_numpy import dumps


def ask(address, number, rate, end, deadline):
    """Send requests at a rate; return time, status (-1 without a reply) and seconds of each."""
    image = np.random.default_rng(number).integers(0, 256, (224, 224, 3), np.uint8)
    body = dumps({'images': [image], 'instruction': f'robot {number}', 'deadline_s': deadline})
    connection, outcomes, due = None, [], time.monotonic() + number / rate / 8
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic()
        try:
            # Like a robot: one connection, closed after a failure.
            connection = connection or HTTPConnection(
                *address, timeout=deadline, source_address=(f'127.0.1.{number + 1}', 0))
            connection.request('POST', '/infer', body, {'Content-Type': 'application/json'})
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, HTTPException):
            status = -1
        if status != 200 and connection is not None:
            connection.close()
            connection = None
        outcomes.append((began, status, time.monotonic() - began))
        due = max(due + 1 / rate, time.monotonic())
    return outcomes


def load(url, robots, seconds, rate=5.0, deadline=2.0):
    """Let robots send requests for a time; count the outcomes."""
    parts = urlsplit(url)
    address, begin = (parts.hostname, parts.port), time.monotonic()
    with ThreadPoolExecutor(robots) as pool:
        futures = [pool.submit(ask, address, number, rate, begin + seconds, deadline)
                   for number in range(robots)]
        each = [future.result() for future in futures]
    outcomes = [outcome for robot in each for outcome in robot]
    good = sorted(took for _, status, took in outcomes if status == 200)
    bad = sorted((began - begin, status, took)
                 for began, status, took in outcomes if status != 200)
    return {
        'robots': robots, 'rate_hz': rate, 'deadline_s': deadline, 'requests': len(outcomes),
        'by_status': {str(status): count for status, count in
                      sorted(Counter(status for _, status, _ in outcomes).items())},
        **({'p50_ms': round(good[len(good) // 2] * 1e3, 1),
            'p99_ms': round(good[len(good) * 99 // 100] * 1e3, 1),
            'max_ms': round(good[-1] * 1e3, 1)} if good else {}),
        'failures_of_each_robot': [sum(status != 200 for _, status, _ in robot) for robot in each],
        'failed_max_ms': round(max((took for *_, took in bad), default=0.0) * 1e3, 1),
        'failed_at_s': [[round(at, 2), status] for at, status, _ in bad[:20]],
        'load_average': [round(number, 2) for number in os.getloadavg()]}


if __name__ == '__main__':
    print(json.dumps(load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]),
                          *map(float, sys.argv[4:]))))
