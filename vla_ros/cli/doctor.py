# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_doctor``: checks this machine and a checkpoint, and names the fix of each problem."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
import json
from pathlib import Path
import shutil
import sys

from vla_ros.doctor.checkpoint import check_checkpoint
from vla_ros.doctor.checks import CHECKS
from vla_ros.doctor.finding import ERROR
from vla_ros.doctor.finding import Finding
from vla_ros.doctor.machine import inspect_machine
from vla_ros.util.argument_parser import ArgumentParser

#: What the inference node takes images from, and publishes commands on.
_TOPICS = ['/camera/image_raw', '/camera/image_raw/compressed', '/arm/joint_command']


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 1 if anything does not work."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if not 0.0 < arguments.seconds <= 3600.0:
        parser.error(f'--seconds: got {arguments.seconds:g}, it must be above 0, at most 3600')
    if arguments.blackbox:
        return _print_black_box(Path(arguments.blackbox).expanduser())
    machine = inspect_machine()
    findings = [check(machine) for check in CHECKS]
    if arguments.checkpoint:
        findings += check_checkpoint(arguments.checkpoint, arguments.revision)
    if arguments.graph:
        findings += _probe_graph(arguments.topics, arguments.seconds)
    failed = any(finding.level == ERROR for finding in findings)
    if arguments.json:
        print(json.dumps({'ok': not failed, 'findings': [asdict(item) for item in findings]}))
    else:
        for finding in findings:
            print(finding.line())
    return int(failed)


def _print_black_box(path: Path) -> int:
    # Imported here: the rest of this tool runs where even Pillow and tqdm are missing.
    from vla_ros.util.command_line import run_tool
    return run_tool('vla_doctor', lambda: _print_timeline(path))


def _print_timeline(path: Path) -> int:
    from vla_ros.safety.timeline import render
    from vla_ros.safety.timeline import timeline
    moments, image = timeline(path)
    for moment in moments:
        print(f'{moment.seconds:9.3f} s  {moment.what:20s} {moment.text}')
    if image is not None:
        print('the last image:')
        print(render(image, min(100, shutil.get_terminal_size().columns - 1),
                     sys.stdout.isatty()))
    return 0


def _probe_graph(topics: Sequence[str], seconds: float) -> list[Finding]:
    try:
        from vla_ros.doctor.graph_probe import probe_graph
    except ImportError as error:
        return [Finding('graph', ERROR, f'cannot be inspected: {error}', 'see rclpy above')]
    return probe_graph(topics, seconds)


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog='vla_doctor', description=__doc__)
    parser.add_argument('--checkpoint', metavar='DIR',
                        help='checkpoint to check, too: a folder, or a hub id that is cached')
    parser.add_argument('--revision', metavar='COMMIT', help='commit, branch or tag of a hub id')
    parser.add_argument('--blackbox', metavar='FILE',
                        help='print what a black box recorded, and nothing else')
    parser.add_argument('--graph', action='store_true',
                        help='inspect the running graph, too: connections, QoS, and the delivery '
                        'of images')
    parser.add_argument('--topics', nargs='+', default=_TOPICS, metavar='NAME',
                        help='topics to inspect with --graph (default: %(default)s)')
    parser.add_argument('--seconds', type=float, default=3.0, metavar='S',
                        help='to listen with --graph (default: %(default)s)')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


if __name__ == '__main__':
    sys.exit(main())
