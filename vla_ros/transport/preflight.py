# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Carries a plan out: writes its files, makes its checks, starts its processes, within seconds."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import os
import time

from vla_ros.errors import UnsupportedError
from vla_ros.transport.checks import make_check
from vla_ros.transport.plan import File
from vla_ros.transport.plan import Plan
from vla_ros.transport.roudi import Daemon
from vla_ros.transport.roudi import is_ready
from vla_ros.transport.roudi import launch_roudi
from vla_ros.transport.self_test import finish_loop_back
from vla_ros.transport.self_test import loop_back_process

# Seconds after which a pre-flight has failed, whatever it waits for in the middleware.
_TIME_LIMIT = 4.3


def prepare(plan: Plan, environment: Mapping[str, str], warn: Callable[[str], None]
            ) -> Daemon | None:
    """
    Apply a plan.

    :param environment: the user's, to which the plan's variables are added.
    :param warn: called with what works, but not well.
    :returns: what was started and has to run for as long as anybody uses the transport.
    :raises UnsupportedError: the transport will not work; nothing is left running.
    """
    end = time.monotonic() + _TIME_LIMIT
    variables = {**environment, **plan.environment}
    for warning in plan.warnings:
        warn(warning)
    write_files(plan.files)
    for check in plan.checks:
        problem = make_check(check, variables)
        if problem:
            warn(problem)
    daemon = launch_roudi(plan.processes[0], variables) if plan.processes else None
    try:
        # The loop-back comes up while RouDi does: both take about a second.
        with loop_back_process(plan.loop_back, variables) as loop_back:
            if daemon is not None and not is_ready(daemon, plan.processes[0]):
                daemon = None
            if loop_back is not None:
                finish_loop_back(plan, loop_back, end - time.monotonic())
    except BaseException:
        if daemon is not None:
            daemon.stop()
        raise
    return daemon


def write_files(files: Sequence[File]) -> None:
    """
    Write the files of a plan, each at once, so that nobody reads half of one.

    :raises UnsupportedError: a folder cannot be written to.
    """
    for file in files:
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            draft = file.path.with_name(f'{file.path.name}.{os.getpid()}')
            draft.write_text(file.text, encoding='utf-8')
            draft.replace(file.path)
        except OSError as error:
            raise UnsupportedError(f'file {file.path}', f'it cannot be written: {error.strerror}',
                                   'set ROS_HOME to a folder of yours') from error
