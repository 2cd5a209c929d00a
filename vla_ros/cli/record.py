# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_record``: records episodes of a robot, a bag each."""

from contextlib import ExitStack
import logging
import sys

import mcap.writer  # noqa: F401  # reported before an episode begins if it is missing
import rclpy
from rclpy.exceptions import ParameterException

from vla_ros.errors import VlaError
from vla_ros.recording.node import DECISIONS
from vla_ros.recording.node import RecordNode
from vla_ros.recording.parameters import PARAMETERS
from vla_ros.recording.terminal import Terminal
from vla_ros.ros.arguments import node_parser
from vla_ros.ros.arguments import start_ros
from vla_ros.ros.spinning import spinning
from vla_ros.util.signals import signals_collected
from vla_ros.util.single_keys import single_keys

_PURPOSE = ('Record episodes, one MCAP bag each, by keys, by words on stdin (start, stop, '
            'success, failure, discard, quit), or by the services ~/start, ~/stop, ~/success, '
            '~/failure and ~/discard.')


def main() -> int:
    """Record until it is interrupted."""
    with signals_collected() as signals, ExitStack() as cleanup:
        cleanup.callback(rclpy.try_shutdown)
        try:
            parser = node_parser('vla_record', _PURPOSE, PARAMETERS)
            parser.add_argument('--start', action='store_true', help='begin an episode at once')
            own = start_ros(parser)
            node = RecordNode()
        except (VlaError, ParameterException) as error:
            print(f'vla_record: {error}', file=sys.stderr)
            return 2
        logging.getLogger('vla_ros').setLevel(logging.INFO)
        cleanup.callback(node.destroy_node)
        terminal = Terminal()
        with spinning(node), single_keys():
            if own.start:
                terminal.print_line(node.decide('start')[1])
            while not signals:
                word = terminal.read(0.1)
                if word == 'quit':
                    break
                if word in DECISIONS:
                    terminal.print_line(node.decide(word)[1])
                elif word:
                    terminal.print_line(f'{word!r} is not one of {", ".join(DECISIONS)}, quit')
                terminal.show(node.recorder)
            node.close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
