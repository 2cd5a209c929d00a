# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The life of the node's process: it starts, serves, and ends within a second of a signal."""

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
import logging
import os
from queue import SimpleQueue
import sys
from threading import Thread
from typing import Any
from typing import NoReturn

from vla_ros.errors import VlaError
from vla_ros.policy.base import Policy
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.transport.orphans import remove_orphans
from vla_ros.util.signals import signals_queued
from vla_ros.util.signals import wait_for_item

_PURPOSE = 'A camera image and an instruction go in, a joint command comes out.'
#: Seconds that an inference under way is given to end.
_STOP_TIMEOUT = 0.25
#: Seconds after which a computing thread lets another one go on.
_SWITCH_INTERVAL = 0.0005


def main(arguments: Sequence[str] | None = None,
         load: Callable[[PolicyConfig], Policy] = load_policy) -> int:
    """
    Run the node until SIGINT or SIGTERM.

    :param arguments: of the command line, those of this process if None.
    :param load: makes the policy.
    :returns: exit status: 0 after a signal, 2 if an argument or a parameter cannot be used.
    """
    # rclpy's own handlers shut its context down inside the signal, while a thread is
    # publishing, and raise KeyboardInterrupt wherever the main thread happens to be. Here a signal
    # only leaves a note; the main thread waits for it and ends everything in order.
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    with signals_queued(ended):
        return _serve(arguments, load, ended)


def _serve(arguments: Sequence[str] | None, load: Callable[[PolicyConfig], Policy],
           ended: 'SimpleQueue[BaseException | None]') -> int:
    # Imported under the signals' handlers, because it takes a good part of a second.
    import rclpy
    from rclpy.exceptions import ParameterException
    from rclpy.executors import MultiThreadedExecutor
    from rclpy.task import Future
    from vla_ros.control.parameters import PARAMETERS
    from vla_ros.ros.arguments import node_parser
    from vla_ros.ros.arguments import start_ros
    from vla_ros.ros.node import VlaInferenceNode

    if not ended.empty():
        return 0
    # A thread that wants to go on waits so long for one that computes in Python: an emergency stop
    # and the motion must not wait the usual 5 ms, several times over, for the worker.
    sys.setswitchinterval(_SWITCH_INTERVAL)
    # A node that is killed and started again, over and over, must not fill the shared memory.
    remove_orphans()
    try:
        start_ros(node_parser('vla_inference_node', _PURPOSE, PARAMETERS), arguments)
        node = VlaInferenceNode(load)
    except (VlaError, ParameterException) as error:
        print(f'vla_inference_node: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    logging.getLogger('vla_ros').addHandler(_RosHandler(node.get_logger()))
    logging.getLogger('vla_ros').setLevel(logging.INFO)
    # One thread each for frames, measurements, the watch, a transition that is loading, a task,
    # the one that it preempts, a teleoperator's commands, and the rest; the emergency stop and the
    # motion have their own.
    executor = MultiThreadedExecutor(num_threads=8)
    executor.add_node(node)
    # An executor may be shut down, and a node destroyed, only once no thread spins it: rclpy
    # does not protect a thread that waits. So the thread is asked to return, by this future.
    leaving: Future = Future()
    threads = [Thread(target=_run, args=(work, ended), name=name, daemon=True) for name, work in (
        ('vla_executor', partial(executor.spin_until_future_complete, leaving)),
        ('vla_motion', node.motion.run))]
    for thread in threads:
        thread.start()
    if node.autostart:
        executor.create_task(node.start)

    failure = wait_for_item(ended)
    is_idle = node.stop(_STOP_TIMEOUT)
    leaving.set_result(None)
    for thread in threads:
        thread.join(_STOP_TIMEOUT)
    if any(thread.is_alive() for thread in threads):
        is_idle = False
    else:
        executor.shutdown(timeout_sec=0.0)
        if node.tasks is not None:
            node.tasks.destroy()
        node.destroy_node()
    rclpy.try_shutdown()
    if failure is not None:
        raise failure
    if not is_idle:
        # A thread inside a kernel, or inside an import, cannot be interrupted, and a Python that
        # is torn down under a running thread may crash.
        _leave(0)
    return 0


def program() -> None:
    """Run the node as a program of its own."""
    # What main has not put away belongs to libraries, which tear themselves down under their own
    # threads: that hung twice until launch lost its patience.
    _leave(main())


def _leave(status: int) -> NoReturn:
    """End this process now; everything has been put away."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(work: Callable[[], None], ended: 'SimpleQueue[BaseException | None]') -> None:
    try:
        work()
    except Exception as error:
        ended.put(error)


class _RosHandler(logging.Handler):
    """Gives what the core logs to the node's logger."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        # A line each: rclpy ties a call's severity to the line it stands on.
        if record.levelno >= logging.ERROR:
            self._logger.error(message, throttle_duration_sec=2.0)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(message)
        else:
            self._logger.info(message)


if __name__ == '__main__':
    program()
