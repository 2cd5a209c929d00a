# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_demo``: the real inference node moves a simulated arm by instructions."""

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import sys

from vla_ros.evaluation.pair import Pair
from vla_ros.evaluation.pair import shipped_checkpoint
from vla_ros.policy.choices import DEVICES
from vla_ros.transport.local_environment import RESULT_WITHIN
from vla_ros.util.argument_parser import ArgumentParser
from vla_ros.util.command_line import run_tool
from vla_ros.util.demo_checkpoint import cache_folder
from vla_ros.util.packages import missing_package

#: Instructions that may fail in a demo that went well.
_MAY_FAIL = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_demo', lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog='vla_demo', description=__doc__)
    parser.add_argument('--checkpoint', metavar='DIR',
                        help='one that vla_train made; default: the one of the package')
    parser.add_argument('--device', default='auto', choices=DEVICES)
    parser.add_argument('--out', type=Path, default=Path('demo'), metavar='DIR',
                        help='where report.html and episode.mcap go (demo)')
    parser.add_argument('--instructions', type=int, choices=range(1, 6), default=5, metavar='N',
                        help='how many of the five to give')
    parser.add_argument('--join', action='store_true',
                        help='start neither simulator nor node: they are there already')
    return parser


def _run(arguments: argparse.Namespace) -> int:
    try:
        import matplotlib  # noqa: F401
        import rclpy  # noqa: F401
    except ImportError as error:
        raise missing_package('demo', error) from None
    # Imported after the check above, whose error names the missing rclpy.
    from vla_ros.demo.session import EPISODES
    from vla_ros.demo.session import run_session
    from vla_ros.demo.session import Session
    from vla_ros.transport.local_environment import demo_environment
    os.environ.update(demo_environment(os.environ))
    pair = None if arguments.join else Pair(
        arguments.checkpoint or str(shipped_checkpoint()), speed=1.0,
        result_within=RESULT_WITHIN, device=arguments.device)
    if pair is not None:
        print(f'model: {pair.checkpoint}', flush=True)
    episodes = EPISODES[:arguments.instructions]
    record = run_session(Session(pair, episodes, arguments.out), cache_folder() / 'demo-log')
    failed = sum(not attempt.succeeded for attempt in record.attempts)
    return 1 if failed > _MAY_FAIL else 0


if __name__ == '__main__':
    sys.exit(main())
