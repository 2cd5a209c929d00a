# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Measures the operator's page.

``python test/bench_panel.py stop [--trials N]``: from a viewer's message to the arrival of the
press on ``/arm/estop`` in another process. ``python test/bench_panel.py viewers [--rounds N]``:
the age of the node's results without a page, and with 20 viewers of whom one never reads.
"""

import argparse
from contextlib import contextmanager
from http.client import HTTPConnection
import subprocess
import sys
import threading
import time

from arm_harness import robot
from domains import next_domain
from node_harness import Observer
from node_harness import RELIABLE
import numpy as np
from panel_harness import Client
from panel_process import panel_process
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool
from vla_ros_msgs.msg import VlaAction

_VIEWERS = 20
_SECONDS = 15.0


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument('what', choices=('stop', 'viewers', 'watch'))
    parser.add_argument('port', nargs='?', type=int)
    parser.add_argument('--trials', type=int, default=200)
    parser.add_argument('--rounds', type=int, default=4)
    arguments = parser.parse_args()
    if arguments.what == 'stop':
        for way in ('websocket', 'POST'):
            measure_stop(arguments.trials, way)
    elif arguments.what == 'viewers':
        measure_viewers(arguments.rounds)
    else:
        watch(arguments.port)


def measure_stop(trials: int, way: str) -> None:
    """Press and release many times, while pictures are shown."""
    domain = next_domain()
    observer = Observer(domain)
    heard = []
    observer.listen(Bool, '/arm/estop', QoSProfile(depth=100),
                    lambda message: heard.append((time.monotonic(), message.data)))
    delays = []
    with panel_process(domain) as port:
        viewer = Client(port)
        viewer.ask('take')
        for _ in range(trials):
            viewer.wait(lambda message: message.get('stop', {}).get('listeners', 0) > 0
                        and not message['stop']['pressed'])
            with observer.changed:
                heard.clear()
                start = time.monotonic()
            if way == 'websocket':
                viewer.say(type='stop')
            else:
                connection = HTTPConnection('127.0.0.1', port)
                connection.request('POST', '/stop')
            with observer.changed:
                assert observer.changed.wait_for(
                    lambda: any(pressed for _, pressed in heard), 10.0), 'the press was lost'
                delays.append(next(moment for moment, pressed in heard if pressed) - start)
            viewer.ask('release_stop')
        viewer.ask('release')
        viewer.close()
    observer.close()
    report(f'stop by {way}', delays)


def measure_viewers(rounds: int) -> None:
    """Measure the age of results in turn without a page and with many viewers."""
    with robot() as (arm, _):
        ages = []
        arm.observer.listen(VlaAction, '/vla/action', RELIABLE,
                            lambda message: ages.append(message.age_published))
        arm.wait_for('RUNNING')
        for number in range(rounds):
            with arm.observer.changed:
                ages.clear()
            time.sleep(_SECONDS)
            report(f'round {number + 1}, nobody looks', ages)
            with panel_process(arm.observer.context.get_domain_id()) as port, viewers(port):
                with arm.observer.changed:
                    ages.clear()
                time.sleep(_SECONDS)
                report(f'round {number + 1}, {_VIEWERS} viewers', ages)


@contextmanager
def viewers(port: int):
    """Run the viewers in a process of their own."""
    process = subprocess.Popen([sys.executable, __file__, 'watch', str(port)],
                               stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    yield
    process.terminate()
    process.wait()


def watch(port: int) -> None:
    """Be the viewers, the last of whom says of nothing that it has seen it."""
    clients = [Client(port, is_attentive=number < _VIEWERS - 1) for number in range(_VIEWERS)]

    def look(client):
        while True:
            client.hear()

    for client in clients[:-1]:
        threading.Thread(target=look, args=(client,), daemon=True).start()
    clients[0].wait(lambda message: message['type'] == 'picture')
    print('watching', flush=True)
    threading.Event().wait()


def report(what: str, values) -> None:
    """Print p50, p99 and the maximum in ms."""
    p50, p99, most = 1e3 * np.percentile(values, (50, 99, 100))
    print(f'{what}: n={len(values)} p50 {p50:.1f} ms, p99 {p99:.1f} ms, at most {most:.1f} ms',
          flush=True)


if __name__ == '__main__':
    main()
