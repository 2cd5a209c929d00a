# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One run of the demo: simulator and node, several instructions, a report and a recording."""

from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import sys
import time

import rclpy

from vla_ros.demo.display import describe_attempt
from vla_ros.demo.display import describe_state
from vla_ros.demo.display import StatusLine
from vla_ros.demo.display import summarize
from vla_ros.demo.mcap_file import McapFile
from vla_ros.demo.outputs import check_own
from vla_ros.demo.outputs import MCAP_MARK
from vla_ros.demo.outputs import REPORT_MARK
from vla_ros.demo.record import Attempt
from vla_ros.demo.record import Record
from vla_ros.demo.recorder import Recorder
from vla_ros.demo.report import write_report
from vla_ros.errors import VlaError
from vla_ros.evaluation.evaluator import Evaluator
from vla_ros.evaluation.evaluator import make_evaluator
from vla_ros.evaluation.pair import Pair
from vla_ros.evaluation.pair import running
from vla_ros.util.processes import Processes
from vla_ros.util.signals import signals_collected
from vla_ros.worlds.tasks import Task

#: Seed of the scene and task of each of the demo's episodes.
EPISODES = ((20001, Task('reach', 'blue')), (20002, Task('push', 'red')),
            (20003, Task('pick', 'green')), (20004, Task('reach', 'yellow')),
            (20005, Task('pick', 'red')))
#: Simulated seconds that are recorded after the end of an episode.
_RECORD_AFTER = 0.8


class ForeignPublisherError(VlaError):
    """Another node publishes a topic of the demo."""

    def __init__(self, topic: str, count: int) -> None:
        super().__init__(f'{count} nodes publish {topic}, one of them the demo: set ROS_DOMAIN_ID '
                         'to a number that nobody else here uses')


@dataclass(frozen=True)
class Session:
    """
    What a run consists of.

    :param pair: simulator and node to start; None if they run already.
    :param episodes: seed of the scene and task, one after the other.
    :param folder: where ``report.html`` and ``episode.mcap`` go.
    """

    pair: Pair | None
    episodes: Sequence[tuple[int, Task]]
    folder: Path


def run_session(session: Session, log_folder: Path) -> Record:
    """
    Run the demo and print what happens.

    :raises VlaError: the folder holds files of these names that no demo wrote, a process ended by
        itself, or another node publishes the demo's topics.
    """
    for folder in (log_folder, session.folder):
        folder.mkdir(parents=True, exist_ok=True)
    mcap, report = session.folder / 'episode.mcap', session.folder / 'report.html'
    check_own(mcap, MCAP_MARK)
    check_own(report, REPORT_MARK)
    domain = int(os.environ.get('ROS_DOMAIN_ID') or 0)
    line = StatusLine(sys.stdout)
    with signals_collected() as signals, McapFile(mcap) as file:
        started = (Processes(log_folder, os.environ) if session.pair is None
                   else running(session.pair, log_folder, os.environ))
        with started as processes, make_evaluator(Evaluator, processes, domain) as evaluator:
            recorder = Recorder(evaluator, file)

            def show() -> None:
                if signals:
                    sys.exit(128 + signals[0])
                line.show(f'waiting for the node: {_loading(recorder.diagnostics)}')

            evaluator.on_wait = show
            evaluator.wait_for_pair()
            began = time.monotonic()
            for seed, task in session.episodes:
                _run_attempt(evaluator, recorder, line, seed, task, signals)
            wall = time.monotonic() - began
        middleware = f'{rclpy.get_rmw_implementation_identifier()}, ROS domain {domain}'
        summary = summarize(recorder.record, recorder.diagnostics, wall, middleware)
        line.print(summary)
        processes.check_ended_well()
    write_report(report, recorder.record, summary)
    line.print(f'  report      {report}\n  recording   {mcap} '
               f'({mcap.stat().st_size / 1e6:.1f} MB; config/foxglove/vla_ros.json shows it)')
    return recorder.record


def _run_attempt(evaluator: Evaluator, recorder: Recorder, line: StatusLine, seed: int,
                 task: Task, signals: list[int]) -> None:
    """Arrange a scene, give the instruction and record the episode."""
    record = recorder.record

    def show() -> None:
        if signals:
            sys.exit(128 + signals[0])
        # At each spin: discovery of another publisher can take seconds.
        _check_alone(evaluator)
        done = sum(attempt.succeeded for attempt in record.attempts)
        line.show(describe_state(task.instruction, recorder.now - began, recorder.diagnostics,
                                 done, len(record.attempts)))

    began = recorder.now
    line.print(f'instruction: {task.instruction!r}')
    evaluator.on_wait = show
    episode = evaluator.run(seed, task)
    end = recorder.now
    while recorder.now < end + _RECORD_AFTER:
        evaluator.spin(0.05)
    result = Attempt(task.instruction, episode.succeeded, episode.decided, end - episode.seconds,
                     episode.seconds)
    record.attempts.append(result)
    line.print(describe_attempt(result))


def _check_alone(evaluator: Evaluator) -> None:
    """Refuse to go on if another node publishes the demo's topics."""
    for topic in ('/camera/image_raw', '/arm/joint_command'):
        count = evaluator.count_publishers(topic)
        if count > 1:
            raise ForeignPublisherError(topic, count)


def _loading(node: dict[str, str]) -> str:
    state = node.get('state', 'starting')
    return f'{state} {node.get("loading [%]")} %' if state == 'LOADING' else state
