# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Makes sure that an image arrives over shared memory before anybody relies on it."""

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextlib import suppress
import os
import signal
import subprocess
import sys

from vla_ros.errors import UnsupportedError
from vla_ros.transport.checks import last_line
from vla_ros.transport.plan import LoopBack
from vla_ros.transport.plan import Plan
from vla_ros.transport.roudi import BUSY_LIMIT
from vla_ros.transport.roudi import waits_for_roudi


def _give_more_time(process: subprocess.Popen[str]) -> tuple[str, int | None]:
    try:
        said, _ = process.communicate(timeout=BUSY_LIMIT)
        return said, process.returncode
    except subprocess.TimeoutExpired as error:
        return (error.output or b'').decode(errors='replace'), None


@contextmanager
def loop_back_process(loop_back: LoopBack | None, environment: Mapping[str, str]
                      ) -> Iterator[subprocess.Popen[str] | None]:
    """Run the loop-back while something else is waited for; None where the plan has none."""
    if loop_back is None:
        yield None
        return
    command = [sys.executable, '-m', 'vla_ros.transport.loop_back', str(loop_back.size)]
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors='replace',
                               start_new_session=True)
    try:
        yield process
    finally:
        _kill_group(process)


def finish_loop_back(plan: Plan, process: subprocess.Popen[str], seconds: float) -> None:
    """
    Wait until an image has gone from one process to another.

    :raises UnsupportedError: it did not arrive in time, or not over shared memory.
    """
    assert plan.loop_back is not None
    status: int | None = None
    try:
        said, _ = process.communicate(timeout=max(0.1, seconds))
        status = process.returncode
    except subprocess.TimeoutExpired as error:
        # Waiting for RouDi is a failure; that both processes are not up yet is a busy machine.
        said = (error.output or b'').decode(errors='replace')
        if not waits_for_roudi(said):
            said, status = _give_more_time(process)
    if status == 0:
        return
    what = f'transport {plan.transport}'
    if 'CHUNK_IS_TOO_LARGE' in said:
        raise UnsupportedError(
            what, f'the pools of the running RouDi have no room for a frame of {plan.frame} '
            f'({plan.loop_back.size} bytes)', 'stop it and start it with larger ones: '
            + ' '.join(plan.processes[0].command))
    if waits_for_roudi(said):
        raise UnsupportedError(what, 'RouDi does not respond',
                               f'restart it: {" ".join(plan.processes[0].command)}')
    problem = last_line(said) if status else 'no image arrived in time'
    raise UnsupportedError(what, f'the self-test failed: {problem}',
                           f'use transport:=fastrtps or cyclonedds ({plan.loop_back.hint})')


def _kill_group(process: subprocess.Popen[str]) -> None:
    """End the loop-back and the process that it has started; either may hang or be gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
