# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The environment in which the benchmark runs, and how a process there is started."""

from collections.abc import Mapping
from collections.abc import Sequence
import os
from pathlib import Path
import sys

from vla_ros.errors import UnsupportedError

_NODE = 'vla_ros.sim.libero.node'


def libero_python(environment: Mapping[str, str]) -> Path:
    """
    Find the Python that has the benchmark.

    :raises UnsupportedError: it is not installed.
    """
    # scripts/env.bash sets the variable; the fallback lies beside the environment of this Python.
    folder = Path(environment.get('VLA_LIBERO_ENV') or Path(sys.prefix).parent / '.venv-libero')
    python = folder / 'bin' / 'python'
    if not (python.exists() and (folder / 'stamp').exists()):
        raise UnsupportedError('LIBERO', f'it is not installed in {folder}',
                               'run scripts/setup libero')
    return python


def node_command(environment: Mapping[str, str], words: Sequence[str]) -> list[str]:
    """Return the command of the robot's process; ``words`` are its arguments."""
    return [str(libero_python(environment)), '-m', _NODE, *words]


def node_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of that process: this package on its path, and software GL."""
    package = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, (package, environment.get('PYTHONPATH', ''))))
    # robosuite opens a context of its own; without a display only EGL draws.
    return {'MUJOCO_GL': 'egl', 'PYOPENGL_PLATFORM': 'egl', **environment, 'PYTHONPATH': path}


def replace_process(words: Sequence[str]) -> None:
    """
    Replace this process by the robot's.

    :param words: its command line, without the program.
    :raises UnsupportedError: the benchmark is not installed.
    """
    command = node_command(os.environ, words)
    os.execve(command[0], command, node_environment(os.environ))
