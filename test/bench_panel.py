# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Measures the operator's page; run by hand, on an idle machine.

``python test/bench_panel.py stop [--trials 200]``: from a viewer's message to the arrival of the
press in another process, to the last command that arrives at the arm, and to the status that says
ESTOP, in the midst of inferences. ``python test/bench_panel.py viewers [--rounds 4]``: the age of
the node's results in turn without a viewer, and with 20 and one that never reads. Each prints a
JSON object; exit status 1 if the stop takes more than 50 ms at the 99th percentile, or the viewers
make that of the age more than 10 % longer.
"""

import argparse
from contextlib import contextmanager
import json
import os
import subprocess
import sys
import threading
import time

from arm_harness import robot
from bench_stop import summary
from node_harness import RELIABLE
from panel_harness import Client
from panel_process import panel_process
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from vla_ros_msgs.msg import VlaAction

_VIEWERS = 20
#: Limits: duration of a stop in ms, and relative increase of the age by 20 viewers.
_STOP_MS, _RATIO = 50.0, 1.1


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=('stop', 'viewers', 'watch'))
    parser.add_argument('port', nargs='?', type=int)
    parser.add_argument('--trials', type=int, default=200)
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--seconds', type=float, default=15.0, help='of each half of a round')
    arguments = parser.parse_args()
    if arguments.what == 'watch':
        watch(arguments.port)
    before = os.getloadavg()
    if arguments.what == 'stop':
        results, is_kept = measure_stop(arguments.trials)
    else:
        results, is_kept = measure_viewers(arguments.rounds, arguments.seconds)
    print(json.dumps({**results, 'load_before': before[0], 'load_after': os.getloadavg()[0]}))
    sys.exit(not is_kept)


def measure_stop(trials: int) -> tuple[dict, bool]:
    """Press and release the stop many times while the arm moves and images are shown."""
    pressed: list[int] = []
    commands: list[int] = []
    delays = []
    with robot(delay=0.15) as (arm, _), \
            panel_process(arm.observer.context.get_domain_id()) as port:
        for message_type, topic, moments in ((Bool, '/arm/estop', pressed),
                                             (JointState, '/arm/joint_command', commands)):
            arm.observer.node.create_subscription(
                message_type, topic,
                lambda message, info, moments=moments: moments.append(info['received_timestamp']),
                QoSProfile(depth=100))
        viewer = Client(port)
        for trial in range(trials):
            arm.wait_for('RUNNING')
            arm.wait_for_commands(10)
            viewer.wait(lambda message: message.get('stop', {}).get('listeners', 0) > 1
                        and not message['stop']['pressed'])
            time.sleep(0.013 * (trial % 12))  # somewhere else in the inference each time
            pressed.clear()
            start = time.time_ns()
            viewer.send(type='stop')
            stopped = arm.wait_for('ESTOP', 'pressed')['stamp']
            time.sleep(0.1)
            delays.append([(moment - start) / 1e6 for moment in (
                pressed[0], max(start, max(commands)), stopped)])
            # Only until here in control: a viewer that waits for the arm is silent, and lost.
            for command in ('take', 'release_stop', 'release'):
                assert viewer.ask(command)[0]
            arm.wait_for('ESTOP', 'released')
            arm.observer.poll(lambda: arm.call('rearm').success, 're-armed', arm.node)
        viewer.close()
    names = ('press_to_arrival_ms', 'press_to_last_command_ms', 'press_to_estop_ms')
    results = {name: summary(values) for name, values in zip(names, zip(*delays))}
    return results, all(one['p99'] <= _STOP_MS for one in results.values())


def measure_viewers(rounds: int, seconds: float) -> tuple[dict, bool]:
    """Measure the age of results in turn without viewers and with many."""
    ages: dict[str, list[float]] = {'without': [], 'with': []}
    with robot() as (arm, _), panel_process(arm.observer.context.get_domain_id()) as port:
        current: list[float] = []
        arm.observer.listen(VlaAction, '/vla/action', RELIABLE,
                            lambda message: current.append(1e3 * message.age_published))
        arm.wait_for('RUNNING')

        def measure(name: str) -> None:
            with arm.observer.changed:
                current.clear()
            time.sleep(seconds)
            with arm.observer.changed:
                ages[name] += current
                print(name, summary(current), file=sys.stderr)

        for _ in range(rounds):
            measure('without')
            with viewers(port):
                measure('with')
    results = {f'{name}_viewers_ms': summary(values) for name, values in ages.items()}
    ratio = results['with_viewers_ms']['p99'] / results['without_viewers_ms']['p99']
    return {**results, 'viewers': _VIEWERS + 1, 'ratio_p99': round(ratio, 3)}, ratio <= _RATIO


@contextmanager
def viewers(port: int):
    """Run the viewers in another process."""
    process = subprocess.Popen([sys.executable, __file__, 'watch', str(port)],
                               stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    yield
    process.terminate()
    process.wait()


def watch(port: int) -> None:
    """Run the viewers, and one more that reads nothing."""
    clients = [Client(port, is_attentive=number < _VIEWERS) for number in range(_VIEWERS + 1)]

    def look(client):
        while True:
            client.receive()

    clients[0].wait(lambda message: message['type'] == 'image')
    for client in clients[:-1]:
        threading.Thread(target=look, args=(client,), daemon=True).start()
    print('watching', flush=True)
    threading.Event().wait()


if __name__ == '__main__':
    main()
