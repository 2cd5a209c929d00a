# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
``vla_transport``: makes images arrive, in a shell, a systemd unit or a launch file.

``eval "$(ros2 run vla_ros vla_transport --print-env fastrtps)"`` sets up the shell that the camera
driver is started from; ``--run`` checks, starts what the transport needs, and keeps it running.
"""

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import os
from queue import SimpleQueue
import shlex
import sys
import threading

from vla_ros.errors import UnsupportedError
from vla_ros.transport.checks import make_check
from vla_ros.transport.plan import DEFAULT_DISTRIBUTION
from vla_ros.transport.plan import DEFAULT_FRAME
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import Plan
from vla_ros.transport.plan import READY
from vla_ros.transport.plan import ROUDI_MODES
from vla_ros.transport.plan import TRANSPORTS
from vla_ros.transport.planner import make_plan
from vla_ros.transport.preflight import prepare
from vla_ros.transport.preflight import write_files
from vla_ros.transport.roudi import Daemon
from vla_ros.util.argument_parser import ArgumentParser
from vla_ros.util.command_line import run_tool
from vla_ros.util.signals import signals_queued
from vla_ros.util.signals import wait_for_item


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 2 if the transport will not work."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_transport', lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    plan = make_plan(arguments.distro, arguments.print_env or arguments.run, os.environ,
                     FrameSize.parse(arguments.frame), arguments.roudi)
    if arguments.print_env:
        _print_environment(plan, os.environ)
        return 0
    ended: SimpleQueue[int | None] = SimpleQueue()
    with signals_queued(ended):
        return _serve(plan, ended)


def _print_environment(plan: Plan, environment: Mapping[str, str]) -> None:
    write_files(plan.files)
    for name, value in plan.environment.items():
        print(f'export {name}={shlex.quote(value)}')
    for warning in plan.warnings:
        _warn(warning)
    for check in plan.checks:
        _warn_if_any(check, {**environment, **plan.environment})
    for process in plan.processes:
        print(f'vla_transport: has to be running: {shlex.join(process.command)}', file=sys.stderr)


def _warn_if_any(check: object, environment: Mapping[str, str]) -> None:
    # The variables may be meant for another shell, or for later: problems are only warnings.
    try:
        problem = make_check(check, environment)  # type: ignore[arg-type]
    except UnsupportedError as error:
        problem = str(error)
    if problem:
        _warn(problem)


def _serve(plan: Plan, ended: 'SimpleQueue[int | None]') -> int:
    print(f'transport {plan.transport} on {plan.distribution} for frames up to {plan.frame}')
    for name, value in plan.environment.items():
        print(f'  {name}={value}')
    sys.stdout.flush()
    daemon = prepare(plan, os.environ, _warn)
    if not ended.empty():
        _stop(daemon)
        return 0
    print(READY, flush=True)
    if daemon is None:
        return 0
    threading.Thread(target=lambda: ended.put(daemon.wait()), daemon=True).start()
    status = wait_for_item(ended)
    if status is None:
        _stop(daemon)
        return 0
    raise UnsupportedError('RouDi', f'it ended with status {status}: {daemon.last_line()}',
                           'start everything again')


def _stop(daemon: Daemon | None) -> None:
    if daemon is not None:
        daemon.stop()


def _warn(problem: str) -> None:
    print(f'vla_transport: warning: {problem}', file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog='vla_transport', description=__doc__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument('--print-env', metavar='TRANSPORT', choices=TRANSPORTS,
                      help='print `export NAME=value` lines: ' + ', '.join(TRANSPORTS))
    task.add_argument('--run', metavar='TRANSPORT', choices=TRANSPORTS,
                      help='check everything within five seconds, start what is needed (RouDi), '
                      f'print "{READY}", and end with what was started')
    parser.add_argument('--frame', default=DEFAULT_FRAME, metavar='WxH',
                        help='largest frame expected, in pixels (default: %(default)s)')
    parser.add_argument('--distro', default=os.environ.get('ROS_DISTRO') or DEFAULT_DISTRIBUTION,
                        help='ROS 2 distribution (default: ROS_DISTRO, here %(default)s)')
    parser.add_argument('--roudi', default='auto', choices=ROUDI_MODES,
                        help='iceoryx only: start RouDi, expect it to be running, or whichever '
                        'is needed (auto)')
    return parser


if __name__ == '__main__':
    sys.exit(main())
