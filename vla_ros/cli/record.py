# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_record``: records episodes of a robot, a bag each."""

from contextlib import ExitStack
import logging
import sys
from threading import Thread

import mcap.writer  # noqa: F401  # reported before an episode begins if it is missing
import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future

from vla_ros.errors import VlaError
from vla_ros.recording.node import DECISIONS
from vla_ros.recording.node import RecordNode
from vla_ros.recording.parameters import PARAMETERS
from vla_ros.recording.terminal import Terminal
from vla_ros.ros.arguments import node_parser
from vla_ros.ros.arguments import start_ros
from vla_ros.util.signals import signals_noted

_PURPOSE = ('Record episodes, one MCAP bag each, by keys, by words on stdin (start, stop, '
            'success, failure, discard, quit), or by the services ~/start, ~/stop, ~/success, '
            '~/failure and ~/discard.')


def main() -> int:
    """Record until it is interrupted."""
    with signals_noted() as signals, ExitStack() as cleanup:
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
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        leaving: Future = Future()
        thread = Thread(target=executor.spin_until_future_complete, args=(leaving,), daemon=True)
        thread.start()
        terminal = Terminal()
        if own.start:
            terminal.say(node.decide('start')[1])
        with terminal.keys():
            while not signals:
                word = terminal.read(0.1)
                if word == 'quit':
                    break
                if word in DECISIONS:
                    terminal.say(node.decide(word)[1])
                elif word:
                    terminal.say(f'{word!r} is not one of {", ".join(DECISIONS)}, quit')
                terminal.show(node.recorder)
        node.close()
        leaving.set_result(None)
        thread.join()
        executor.shutdown(timeout_sec=0.0)
    return 0


if __name__ == '__main__':
    sys.exit(main())
