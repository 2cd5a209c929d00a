# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Measures simulator and node: camera rate, share of a core, and inference rate.

    python test/bench_sim.py [--checkpoint DIR] [--seconds 20]

Simulator and node run in real time, without waiting for results, on this machine with its load.
Prints one JSON object.
"""

import argparse
import json
import os
from pathlib import Path
import tempfile
import time

from sensor_msgs.msg import CameraInfo

from vla_ros.evaluation.evaluator import Evaluator
from vla_ros.evaluation.evaluator import make_evaluator
from vla_ros.evaluation.pair import free_domains
from vla_ros.evaluation.pair import NODE
from vla_ros.evaluation.pair import Pair
from vla_ros.evaluation.pair import shipped_checkpoint
from vla_ros.evaluation.pair import SIM
from vla_ros.transport.local_environment import demo_environment
from vla_ros.util.processes import Processes
from vla_ros.worlds.tasks import Task

_TICKS = os.sysconf('SC_CLK_TCK')


def cpu_seconds(log, module):
    """Return the processor time of the child process that runs a module, in s."""
    for status in Path('/proc').glob('[0-9]*/stat'):
        try:
            command = (status.parent / 'cmdline').read_text().split('\0')
            fields = status.read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        if module in command and int(fields[1]) == os.getpid():
            return (int(fields[11]) + int(fields[12])) / _TICKS
    raise LookupError(f'{module} does not run; its output: {log}')


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--checkpoint')
    parser.add_argument('--seconds', type=float, default=20.0)
    arguments = parser.parse_args()
    domain, = free_domains(1)
    environment = {**os.environ, **demo_environment(os.environ), 'ROS_DOMAIN_ID': str(domain)}
    pair = Pair(arguments.checkpoint or str(shipped_checkpoint()), 1.0, 0.0)
    with tempfile.TemporaryDirectory() as logs, \
            Processes(Path(logs), environment) as processes:
        processes.start(SIM, pair.sim_command())
        processes.start(NODE, pair.node_command())
        with make_evaluator(Evaluator, processes, domain) as evaluator:
            images = []
            evaluator.create_subscription(CameraInfo, '/camera/camera_info', images.append, 10)
            evaluator.wait_for_pair()
            evaluator.arrange(30000, Task('reach', 'red'))
            evaluator.spin(2.0)
            images.clear()
            evaluator.ages.clear()
            modules = ('vla_ros.sim.node', 'vla_ros.ros.main')
            before = [cpu_seconds(processes.log(SIM), module) for module in modules]
            began = time.monotonic()
            evaluator.spin(arguments.seconds)
            passed = time.monotonic() - began
            after = [cpu_seconds(processes.log(SIM), module) for module in modules]
            used = [(end - start) / passed for start, end in zip(before, after)]
            print(json.dumps({
                'seconds': round(passed, 2), 'camera_hz': round(len(images) / passed, 2),
                'sim_cores': round(used[0], 3), 'node_cores': round(used[1], 3),
                'results_hz': round(len(evaluator.ages) / passed, 2), 'cores': os.cpu_count()}))


if __name__ == '__main__':
    main()
