# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The life of the operator page's process."""

from collections.abc import Callable
import sys
import threading

from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future

from vla_ros.ros.panel_node import PanelNode
from vla_ros.server.panel.robot import Robot

#: Seconds after which a computing thread lets another one go on: the stop must not wait the usual
#: 5 ms, several times over, for pictures.
_SWITCH_INTERVAL = 0.0005


def run_panel(serve: Callable[[Robot], None]) -> None:
    """
    Serve the page while the node takes part in the graph; rclpy is initialised.

    :param serve: serves the robot until a signal comes.
    :raises VlaError: a parameter cannot be used.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    node = PanelNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # An executor may be shut down, and a node destroyed, only once no thread spins it.
    leaving: Future = Future()
    thread = threading.Thread(target=executor.spin_until_future_complete, args=(leaving,),
                              name='vla_executor')
    thread.start()
    try:
        serve(node)
    finally:
        leaving.set_result(None)
        executor.wake()
        thread.join()
        node.stop()
        executor.shutdown()
        node.destroy_node()
