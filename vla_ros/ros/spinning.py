# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A node that is spun by a thread of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Spin a node in the background; afterwards no thread spins it, and it may be destroyed."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # rclpy protects no thread that still spins: it has to return before the executor is shut down.
    leaving: Future = Future()
    thread = Thread(target=executor.spin_until_future_complete, args=(leaving,),
                    name='vla_executor', daemon=True)
    thread.start()
    try:
        yield
    finally:
        leaving.set_result(None)
        thread.join()
        executor.shutdown(timeout_sec=0.0)
