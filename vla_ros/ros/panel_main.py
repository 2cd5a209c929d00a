# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The life of the operator page's process."""

from collections.abc import Callable
import sys

from vla_ros.ros.panel_node import PanelNode
from vla_ros.ros.spinning import spinning
from vla_ros.server.panel.robot import Robot

#: Seconds after which a computing thread lets another one go on: the stop must not wait the usual
#: 5 ms, several times over, for images.
_SWITCH_INTERVAL = 0.0005


def run_panel(serve: Callable[[Robot], None]) -> None:
    """
    Serve the page while the node takes part in the graph; rclpy is initialised.

    :param serve: serves the robot until a signal comes.
    :raises VlaError: a parameter cannot be used.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    node = PanelNode()
    try:
        with spinning(node):
            serve(node)
    finally:
        node.stop()
        node.destroy_node()
