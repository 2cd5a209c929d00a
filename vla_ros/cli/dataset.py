# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_dataset``: makes LeRobot datasets of bags, and checks both."""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from vla_ros.data.contract import load_contract
from vla_ros.data.lerobot_writer import STORAGES
from vla_ros.recording.check_bag import check_bag
from vla_ros.recording.check_dataset import check_dataset
from vla_ros.recording.convert import ConversionPlan
from vla_ros.recording.convert import convert
from vla_ros.recording.findings import Limits
from vla_ros.recording.findings import Report
from vla_ros.recording.parameters import OUTCOMES
from vla_ros.recording.report import lines_of
from vla_ros.recording.report import write_page
from vla_ros.robot.description import load_robot
from vla_ros.util.argument_parser import ArgumentParser
from vla_ros.util.command_line import run_tool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 1 if an episode was refused or a check has found an error."""
    arguments = _parser().parse_args(argv)
    run = _convert if arguments.command == 'convert' else _check
    return run_tool('vla_dataset', lambda: run(arguments))


def _convert(arguments: argparse.Namespace) -> int:
    plan = ConversionPlan(
        load_contract(arguments.contract) if arguments.contract else None, arguments.instruction,
        arguments.storage, tuple(arguments.outcome))
    refused = convert([Path(path) for path in arguments.bags], Path(arguments.out), plan,
                      lambda line: print(line, flush=True))
    return 1 if refused else 0


def _check(arguments: argparse.Namespace) -> int:
    limits = _limits(arguments.robot)
    contract = load_contract(arguments.contract) if arguments.contract else None
    reports: list[Report] = []
    for name in arguments.paths:
        path = Path(name)
        if (path / 'meta').is_dir():
            report = check_dataset(path, limits, not arguments.no_images)
        else:
            report = check_bag(path, limits, contract, arguments.instruction,
                               bool(arguments.html) and not arguments.no_images)
        reports.append(report)
        print('\n'.join(lines_of(report)), flush=True)
    if arguments.html:
        write_page(Path(arguments.html), reports)
    return 1 if any(report.is_bad for report in reports) else 0


def _limits(robot: str) -> Limits:
    """Return the limits of the checks, with those of a robot's joints if one is named."""
    if not robot:
        return Limits()
    joints = load_robot(robot).limits
    return Limits(lower=dict(zip(joints.names, joints.lower.tolist())),
                  upper=dict(zip(joints.names, joints.upper.tolist())))


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog='vla_dataset', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    convert_parser = commands.add_parser('convert', help='bags to a LeRobot dataset, v3.0')
    convert_parser.add_argument('bags', nargs='+', metavar='BAG', help='an episode each')
    convert_parser.add_argument('--out', required=True, metavar='DIR', help='a new folder')
    convert_parser.add_argument('--storage', choices=STORAGES, default='h264',
                                help='of the images; images: lossless PNG '
                                     '(default: %(default)s)')
    convert_parser.add_argument('--outcome', nargs='+', default=(), metavar='OUTCOME',
                                choices=OUTCOMES,
                                help='only episodes that ended so (default: all)')
    check_parser = commands.add_parser('check', help='bags or datasets; exit status 1 for errors')
    check_parser.add_argument('paths', nargs='+', metavar='DIR|BAG')
    check_parser.add_argument('--html', metavar='FILE', help='write a page with images, too')
    check_parser.add_argument('--robot', metavar='FILE', default='',
                              help='robot whose joint limits the actions must keep, as robot.file')
    check_parser.add_argument('--no-images', action='store_true', help='decode no images')
    for one in (convert_parser, check_parser):
        one.add_argument('--contract', metavar='NAME', default='',
                         help="observation contract instead of the bags' own")
        one.add_argument('--instruction', metavar='TEXT', default='',
                         help='of frames that have none')
    return parser


if __name__ == '__main__':
    sys.exit(main())
