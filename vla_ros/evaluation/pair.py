# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Simulator and inference node, as two processes on a ROS domain of their own."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import json
from pathlib import Path
import random
import socket
import sys

from vla_ros.errors import VlaError
from vla_ros.util.processes import Processes
from vla_ros.util.share import find_share

SIM, NODE = 'vla_sim', 'vla_inference_node'
#: The instruction of a node that does not receive the real one.
BLANK = 'do something'
_UNUSED_TOPIC = '/vla/unused_instruction'
_PYTHON = (sys.executable, '-m')


@dataclass(frozen=True)
class Pair:
    """
    How a pair is started.

    :param checkpoint: folder or hub id.
    :param speed: of the simulated time, at most.
    :param result_within: simulated seconds that a result may take before time waits for it.
    :param is_blank: the node never receives an instruction.
    :param black_box: folder of the node's black box; empty for none.
    :param node: program of the node.
    :param sim: program of the simulator.
    """

    checkpoint: str
    speed: float
    result_within: float
    device: str = 'auto'
    is_blank: bool = False
    black_box: str = ''
    node: Sequence[str] = (*_PYTHON, 'vla_ros.ros.main')
    sim: Sequence[str] = (*_PYTHON, 'vla_ros.sim.node')

    def sim_command(self) -> list[str]:
        """Return the command of the simulator."""
        return [*self.sim, '--ros-args',
                *parameter_arguments(publish_clock=True, speed=float(self.speed),
                                     result_within=float(self.result_within))]

    def node_command(self) -> list[str]:
        """Return the command of the node; ``config/tabletop.yaml`` has the arm's parameters."""
        command = [*self.node, '--ros-args', '--params-file', str(tabletop_file()),
                   *parameter_arguments(**{'checkpoint': self.checkpoint, 'device': self.device,
                                           'use_sim_time': True,
                                           'black_box.folder': self.black_box})]
        if self.is_blank:
            command += [*parameter_arguments(instruction=BLANK), '-r',
                        f'/vla/instruction:={_UNUSED_TOPIC}']
        return command


@contextmanager
def running(pair: Pair, logs: Path, environment: Mapping[str, str]) -> Iterator[Processes]:
    """Start a pair, and end it; ``logs`` holds its output."""
    with Processes(logs, environment) as processes:
        processes.start(SIM, pair.sim_command())
        processes.start(NODE, pair.node_command())
        yield processes


def tabletop_file() -> Path:
    """Find the node's parameters for the simulated arm."""
    return find_share() / 'config' / 'tabletop.yaml'


def shipped_checkpoint() -> Path:
    """
    Find the checkpoint that comes with the package.

    :raises VlaError: it is missing.
    """
    folder = shipped_folder()
    if not (folder / 'config.json').is_file():
        raise VlaError(f'{folder} is missing: install the package again, name a --checkpoint, or '
                       'make one with vla_train')
    return folder


def shipped_folder() -> Path:
    """Return the folder of that checkpoint, whether it exists or not."""
    return find_share() / 'config' / 'checkpoints' / 'vla_ros_tabletop'


def free_domains(count: int) -> list[int]:
    """Return unused ROS domains of this machine, in random order."""
    candidates = random.sample(range(1, 102), 101)
    return [domain for domain in candidates if is_free(domain)][:count]


def is_free(domain: int) -> bool:
    """Return whether no process of this machine uses a ROS domain."""
    # The ports on which the first participants of a domain are found (DDSI-RTPS, 9.6.1.1).
    for participant in range(4):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', 7400 + 250 * domain + 10 + 2 * participant))
            except OSError:
                return False
    return True


def parameter_arguments(**values: object) -> list[str]:
    """Return the ``-p`` arguments that set ROS parameters."""
    # The value of a parameter is YAML: written as JSON, a text stays a text.
    return [word for name, value in values.items()
            for word in ('-p', f'{name}:={json.dumps(value, ensure_ascii=False)}')]
