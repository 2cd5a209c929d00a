# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One run of the demo: starts the processes, gives the instructions, watches, sums up."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import sys
import time

import rclpy
from rclpy.signals import SignalHandlerOptions

from vla_ros.demo.display import describe_state
from vla_ros.demo.display import LiveLine
from vla_ros.demo.display import summarize
from vla_ros.demo.observer import DemoObserver
from vla_ros.demo.processes import Processes
from vla_ros.demo.signals import signals_noted
from vla_ros.errors import VlaError

CAMERA = 'demo_camera'
NODE = 'vla_inference_node'


class NoCommandError(VlaError):
    """The node is there, but nothing comes out of it."""

    def __init__(self, seconds: float, state: str, log: Path) -> None:
        super().__init__(f'no joint command arrived within {seconds:.0f} s; the node says: '
                         f'{state} (its output: {log})')


@dataclass(frozen=True)
class Session:
    """
    What a run consists of.

    :param camera: command that publishes images until it is interrupted.
    :param node: command of the inference node, started with the first instruction.
    :param instructions: given one after the other, each for an equal part of the time.
    :param seconds: how long to watch, from the first command on.
    :param patience: seconds to wait for the first command.
    """

    camera: Sequence[str]
    node: Sequence[str]
    instructions: Sequence[str]
    seconds: float
    patience: float


def run_session(session: Session, log_folder: Path) -> None:
    """
    Run the demo and print what happens.

    :raises VlaError: no command came, a process ended by itself, or the topics are not ours alone.
    """
    line = LiveLine(sys.stdout)
    with signals_noted() as signals, _observer(session.instructions[0]) as observer:
        with Processes(log_folder, os.environ) as processes:
            processes.start(CAMERA, session.camera)
            processes.start(NODE, session.node)

            def turn() -> None:
                rclpy.spin_once(observer, timeout_sec=0.05)
                processes.check()
                if signals:
                    sys.exit(128 + signals[0])

            _await_first_command(session, observer, turn, line, processes.log(NODE))
            frames = observer.frames
            _watch(session, observer, turn, line)
            frames = observer.frames - frames
        line.print(summarize(observer.record, frames, session.seconds, observer.policy,
                             _middleware()))
        processes.check_ended_well()


@contextmanager
def _observer(instruction: str) -> Iterator[DemoObserver]:
    # With rclpy's own handlers its context would be gone before the processes are.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    observer = DemoObserver(instruction)
    try:
        yield observer
    finally:
        observer.destroy_node()
        rclpy.try_shutdown()


def _await_first_command(session: Session, observer: DemoObserver, turn: Callable[[], None],
                         line: LiveLine, log: Path) -> None:
    start = time.monotonic()
    while not observer.record.commands:
        waited = time.monotonic() - start
        # A fault does not mend by itself: no need to wait for more of it.
        if waited > session.patience or observer.policy.get('state') == 'FAULT':
            raise NoCommandError(waited, _node_state(observer), log)
        turn()
        line.show(f'waiting for the node: {_node_state(observer)}')
    observer.check_alone()


def _watch(session: Session, observer: DemoObserver, turn: Callable[[], None],
           line: LiveLine) -> None:
    line.print(f'instruction: {session.instructions[0]!r}')
    left = list(session.instructions[1:])
    each = session.seconds / len(session.instructions)
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < session.seconds:
        turn()
        due = len(session.instructions) - len(left)
        if left and elapsed > due * each and observer.can_instruct():
            observer.instruct(left[0])
            line.print(f'instruction: {left.pop(0)!r}')
        line.show(describe_state(observer.record, observer.now(), elapsed))


def _node_state(observer: DemoObserver) -> str:
    state, message = observer.policy.get('state', 'starting'), observer.policy.get('message', '')
    if state == 'LOADING':
        return f'{state} {observer.policy.get("loading [%]")} %'
    return f'{state}: {message}' if message not in ('', state) else state


def _middleware() -> str:
    return (f'{rclpy.get_rmw_implementation_identifier()}, '
            f'ROS domain {os.environ.get("ROS_DOMAIN_ID", "0")}')
