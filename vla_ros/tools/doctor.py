# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_doctor``: says what this machine, and a checkpoint, lack, and what to do about it."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
import json
from pathlib import Path
import sys

from vla_ros.doctor.checkpoint import check_checkpoint
from vla_ros.doctor.checks import CHECKS
from vla_ros.doctor.finding import ERROR
from vla_ros.doctor.machine import look_at_machine


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 1 if anything does not work."""
    arguments = _parser().parse_args(argv)
    machine = look_at_machine()
    findings = [check(machine) for check in CHECKS]
    if arguments.checkpoint:
        findings += check_checkpoint(Path(arguments.checkpoint).expanduser())
    failed = any(finding.level == ERROR for finding in findings)
    if arguments.json:
        print(json.dumps({'ok': not failed, 'findings': [asdict(item) for item in findings]}))
    else:
        for finding in findings:
            print(finding.line())
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='vla_doctor', description=__doc__)
    parser.add_argument('--checkpoint', metavar='DIR', help='checkpoint folder to look at, too')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


if __name__ == '__main__':
    sys.exit(main())
