# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The repository in the src/ of a colcon workspace, beside another package."""

import os
from pathlib import Path
import shutil
import subprocess

import pytest

ROOT = Path(__file__).parents[1]

NEIGHBOUR = """<?xml version="1.0"?>
<package format="3">
  <name>neighbour</name>
  <version>1.0.0</version>
  <description>A package of someone else.</description>
  <maintainer email="someone@example.org">Someone</maintainer>
  <license>Apache-2.0</license>
  <export><build_type>ament_python</build_type></export>
</package>
"""


@pytest.fixture
def workspace(tmp_path):
    """Return a workspace with the sources of this package and another one."""
    if shutil.which('colcon') is None:
        pytest.skip('colcon is not installed')
    source = tmp_path / 'src' / 'vla_ros'
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(
        '.*', 'build', 'install', 'log', '__pycache__', '*.egg-info', 'test'))
    neighbour = tmp_path / 'src' / 'neighbour'
    (neighbour / 'resource').mkdir(parents=True)
    (neighbour / 'resource' / 'neighbour').touch()
    (neighbour / 'package.xml').write_text(NEIGHBOUR)
    (neighbour / 'setup.py').write_text(
        'from setuptools import setup\n'
        "setup(name='neighbour', version='1.0.0', packages=[], data_files=[\n"
        "    ('share/ament_index/resource_index/packages', ['resource/neighbour']),\n"
        "    ('share/neighbour', ['package.xml'])])\n")
    return tmp_path


def colcon_build(workspace, *options):
    done = subprocess.run(['colcon', 'build', *options], cwd=workspace, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(path.name for path in (workspace / 'install').iterdir() if path.is_dir())


@pytest.mark.parametrize('option', [[], ['--symlink-install']], ids=['copied', 'symlinked'])
def test_a_colcon_build_installs_executables_that_run_the_active_python(workspace, option):
    assert colcon_build(workspace, *option) == ['neighbour', 'vla_ros']
    # The python3 that is first on the PATH must run: that of an active virtual environment, or
    # the system's. This one prints its name.
    active = workspace / 'active' / 'bin'
    active.mkdir(parents=True)
    (active / 'python3').write_text('#!/bin/sh\necho "the active one runs $(basename "$1")"\n')
    (active / 'python3').chmod(0o755)
    path = f'{active}{os.pathsep}{os.environ["PATH"]}'
    for executable in ('vla_inference_node', 'vla_predict'):
        done = subprocess.run([workspace / 'install/vla_ros/lib/vla_ros' / executable],
                              env={**os.environ, 'PATH': path}, capture_output=True, text=True)
        assert done.stdout == f'the active one runs {executable}\n', done.stderr


def test_a_colcon_build_installs_launch_files_and_config(workspace):
    colcon_build(workspace, '--packages-select', 'vla_ros')
    share = workspace / 'install/vla_ros/share/vla_ros'
    source = workspace / 'src/vla_ros'
    expected = {path.relative_to(source) for pattern in ('launch/*.launch.py', 'config/**/*')
                for path in source.glob(pattern) if path.is_file()}
    assert expected
    for path in expected:
        assert (share / path).read_bytes() == (source / path).read_bytes()


def package_order(folder, *options):
    done = subprocess.run(['colcon', 'list', '--names-only', '--topological-order', *options],
                          cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_with_both_base_paths_the_messages_are_built(workspace):
    source = workspace / 'src/vla_ros'
    assert package_order(workspace, '--base-paths', source, source / 'msg') == [
        'vla_ros_msgs', 'vla_ros']


def test_with_the_link_of_the_readme_colcon_finds_the_messages(workspace):
    line = 'ln -s vla_ros/msg src/vla_ros_msgs'
    assert f'    {line}\n' in (ROOT / 'README.md').read_text()
    subprocess.run(line.split(), cwd=workspace, check=True)
    assert set(package_order(workspace)) == {'neighbour', 'vla_ros', 'vla_ros_msgs'}
    if shutil.which('cmake') is None:
        pytest.skip('cmake is not installed')
    # Configuring reads the message files through the link; compiling them takes a minute.
    done = subprocess.run(['colcon', 'build', '--packages-select', 'vla_ros_msgs',
                           '--cmake-target', 'help'], cwd=workspace, capture_output=True,
                          text=True)
    if 'Could not find' in done.stdout + done.stderr:
        pytest.skip('the generators of messages are not installed')
    assert (workspace / 'build/vla_ros_msgs/Makefile').is_file(), done.stdout + done.stderr


def test_colcon_in_the_checkout_finds_the_messages(workspace):
    assert package_order(workspace / 'src/vla_ros') == ['vla_ros_msgs', 'vla_ros']
