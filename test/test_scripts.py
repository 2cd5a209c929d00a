# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The shell scripts: the environment of a fresh shell, and errors."""

import os
from pathlib import Path
import shutil
import subprocess

import pytest

ROOT = Path(__file__).parents[1]


def bash(command, **environment):
    return subprocess.run(['bash', '-c', command], cwd='/', text=True, capture_output=True,
                          env={'HOME': os.environ.get('HOME', '/'), 'PATH': os.defpath,
                               **environment})


@pytest.fixture
def scripts(tmp_path):
    """Copy the scripts to a folder without an environment."""
    return shutil.copytree(ROOT / 'scripts', tmp_path / 'checkout' / 'scripts')


def test_env_bash_provides_executables_and_packages():
    if not (ROOT / '.venv/ros_setup').exists():
        pytest.skip('this checkout was not set up by ./scripts/setup')
    environment = f'source {ROOT}/scripts/env.bash'
    # Sourced twice, as by a script that is called from a shell with the environment.
    done = bash(f'set -e; {environment}; {environment}; command -v vla_predict; '
                'python -c "import rclpy, sensor_msgs.msg, torch, vla_ros; print(vla_ros)"')
    assert done.returncode == 0, done.stderr
    executable, package = done.stdout.splitlines()
    assert executable == f'{ROOT}/install/vla_ros/lib/vla_ros/vla_predict'
    assert f"'{ROOT}/install/vla_ros/lib/" in package


def test_env_bash_before_setup_names_the_command_to_run(scripts):
    done = bash(f'source {scripts}/env.bash')
    assert done.returncode == 1
    assert done.stderr == f'env.bash: nothing is set up yet: run {scripts}/setup first\n'


def test_setup_refuses_a_missing_ros_installation(scripts):
    done = bash(f'{scripts}/setup', ROS_SETUP='/nowhere/setup.bash')
    assert done.returncode == 1
    assert done.stderr == ("setup: ROS_SETUP: got '/nowhere/setup.bash', it must be the "
                           'setup.bash of a ROS 2 installation, or none\n')


def test_setup_does_not_touch_an_environment_of_the_user(scripts):
    mine = scripts.parent / '.venv' / 'mine'
    mine.parent.mkdir()
    mine.touch()
    done = bash(f'{scripts}/setup', ROS_SETUP='none')
    assert done.returncode == 1
    assert f'{scripts.parent}/.venv was not made by this script' in done.stderr
    assert mine.exists()


def test_setup_refuses_an_unknown_argument(scripts):
    done = bash(f'{scripts}/setup tests', ROS_SETUP='none')
    assert done.returncode == 1
    assert done.stderr == "setup: got 'tests', it takes no argument but test or libero\n"
    assert not (scripts.parent / '.venv').exists()


def test_setup_without_a_supported_python_names_the_supported_versions(scripts):
    done = bash(f'{scripts}/setup', ROS_SETUP='none', PYTHON='/bin/false')
    assert done.returncode == 1
    assert 'no Python 3.10 to 3.13' in done.stderr
    assert not (scripts.parent / '.venv').exists()
