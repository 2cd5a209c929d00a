# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_teleop``: a keyboard, a gamepad or a leader arm takes a robot over."""

from contextlib import ExitStack
import os
import select
import sys
import time

import rclpy
from rclpy.exceptions import ParameterException

from vla_ros.errors import VlaError
from vla_ros.ros.arguments import node_parser
from vla_ros.ros.arguments import start_ros
from vla_ros.ros.spinning import spinning
from vla_ros.teleop.keyboard import HELP
from vla_ros.teleop.node import DEVICES
from vla_ros.teleop.node import PARAMETERS
from vla_ros.teleop.node import TeleopNode
from vla_ros.util.signals import signals_collected
from vla_ros.util.single_keys import single_keys

_PURPOSE = ('Take the arm of a vla_inference_node over, whose teleop.enabled is true. keyboard: '
            'the keys of this terminal, for the simulator only, since a terminal has no deadman; '
            'gamepad: sensor_msgs/Joy on joy; leader: joint states of a leader arm on '
            'leader/joint_states, and the deadman of a gamepad or pedal on joy.')


def main() -> int:
    """Drive until it is interrupted."""
    with signals_collected() as signals, ExitStack() as cleanup:
        cleanup.callback(rclpy.try_shutdown)
        try:
            parser = node_parser('vla_teleop', _PURPOSE, PARAMETERS)
            parser.add_argument('device', choices=DEVICES)
            own = start_ros(parser)
            node = TeleopNode(own.device)
        except (VlaError, ParameterException) as error:
            print(f'vla_teleop: {error}', file=sys.stderr)
            return 2
        cleanup.callback(node.destroy_node)
        if own.device == 'keyboard':
            print(HELP, flush=True)
        with spinning(node), single_keys():
            while not signals:
                if own.device != 'keyboard':
                    time.sleep(0.1)
                elif not _read(node):
                    break
    return 0


def _read(node: TeleopNode) -> bool:
    """Forward keys; False for the end: the key for it, or no more input."""
    if not select.select([sys.stdin], [], [], 0.1)[0]:
        return True
    keys = os.read(sys.stdin.fileno(), 64).decode(errors='ignore')
    for key in keys:
        node.keyboard.press(key, time.monotonic())
    return bool(keys) and 'q' not in keys


if __name__ == '__main__':
    sys.exit(main())
