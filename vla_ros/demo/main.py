# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_demo``: a camera and the real inference node, watched for some seconds, then summed up."""

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import sys

from vla_ros.demo.checkpoint import cache_folder
from vla_ros.demo.checkpoint import checkpoint_folder
from vla_ros.demo.checkpoint import ensure_checkpoint
from vla_ros.demo.photos import find_photos
from vla_ros.demo.tokenizer import INSTRUCTIONS
from vla_ros.errors import UnsupportedError
from vla_ros.policy import DEVICES
from vla_ros.tools.command_line import run_tool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_demo', lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='vla_demo', description=__doc__)
    parser.add_argument('--seconds', type=float, default=20.0,
                        help='how long to watch, from the first command on')
    parser.add_argument('--checkpoint', metavar='DIR',
                        help='folder or hub id; default: a tiny one with made-up weights')
    parser.add_argument('--unnorm-key', default='', metavar='K',
                        help='dataset whose statistics scale the action')
    parser.add_argument('--device', default='auto', choices=DEVICES)
    parser.add_argument('--photo', action='append', default=[], metavar='FILE',
                        help='what the camera sees; repeat for more')
    parser.add_argument('--patience', type=float, default=120.0, metavar='SECONDS',
                        help='how long to wait for the first command')
    parser.add_argument('--write-checkpoint', metavar='DIR',
                        help='only write the tiny checkpoint, if it is not there')
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.write_checkpoint:
        print(ensure_checkpoint(Path(arguments.write_checkpoint)))
        return 0
    photos = arguments.photo or [str(path) for path in find_photos()]
    checkpoint = arguments.checkpoint or str(ensure_checkpoint(checkpoint_folder()))
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        raise UnsupportedError('vla_demo', f'rclpy cannot be imported ({error})',
                               'run ./scripts/demo, or source the setup file of a ROS 2 '
                               'installation') from None
    # Only where rclpy is known to be there; the error above must reach who has none.
    from vla_ros.demo.environment import demo_environment
    from vla_ros.demo.session import run_session
    from vla_ros.demo.session import Session
    os.environ.update(demo_environment(os.environ))
    print(f'camera: {", ".join(photos)}\nmodel:  {checkpoint}', flush=True)
    logs = cache_folder() / 'demo-log'
    logs.mkdir(parents=True, exist_ok=True)
    run_session(Session(
        camera=_module('vla_ros.demo.camera', photos=photos),
        node=_module('vla_ros.process', checkpoint=checkpoint, device=arguments.device,
                     unnorm_key=arguments.unnorm_key, instruction=INSTRUCTIONS[0]),
        instructions=INSTRUCTIONS, seconds=arguments.seconds, patience=arguments.patience), logs)
    return 0


def _module(name: str, **parameters: str | list[str]) -> list[str]:
    """Return the command that runs a node of this package with these parameters."""
    command = [sys.executable, '-m', name, '--ros-args']
    for parameter, value in parameters.items():
        # The value of a parameter is YAML: quoted as JSON, no text is taken for something else.
        command += ['-p', f'{parameter}:={json.dumps(value, ensure_ascii=False)}']
    return command


if __name__ == '__main__':
    sys.exit(main())
