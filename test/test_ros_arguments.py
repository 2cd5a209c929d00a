# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Command lines of nodes: errors are one line, and ``--help`` lists the parameters."""

import os
import subprocess
import sys

from domains import next_domain
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from vla_ros.control.parameters import PARAMETERS  # noqa: E402
from vla_ros.errors import VlaError  # noqa: E402, I100
from vla_ros.ros.arguments import node_parser  # noqa: E402
from vla_ros.ros.arguments import start_ros  # noqa: E402

NODE, SIM = 'vla_ros.ros.main', 'vla_ros.sim.node'


def test_help_lists_every_parameter_with_its_allowed_values(capsys):
    with pytest.raises(SystemExit) as end:
        start_ros(node_parser('node', 'It is a test.', PARAMETERS), ['node', '--help'])
    assert end.value.code == 0
    help_text = ' '.join(capsys.readouterr().out.split())
    for parameter in PARAMETERS:
        assert f'{parameter.name}: ' in help_text and f'It is {parameter.allowed}; by' in help_text


@pytest.mark.parametrize('arguments', [['-p', 'nonsense'], ['--nonsense'], ['-p', 'a:=[1']])
def test_invalid_ros_arguments_are_a_vla_error(arguments):
    with pytest.raises(VlaError, match='^ROS arguments: .*--help says'):
        start_ros(node_parser('node', 'It is a test.', ()), ['node', '--ros-args', *arguments])


@pytest.mark.parametrize('module, arguments, problem', [
    (NODE, ['--checkpoint', 'x'], 'unrecognized arguments: --checkpoint x'),
    (NODE, ['--ros-args', '-p', 'device:=3'], "'device'"),
    (NODE, ['--ros-args', '-p', 'gates.jump:=0.1'], 'its new name, action_limits.jump'),
    (SIM, ['--vewer'], 'unrecognized arguments: --vewer'),
    (SIM, ['--ros-args', '-p', 'seed:=-3'], 'seed'),
    (SIM, ['--ros-args', '-p', 'answer_within:=0.5'], 'its new name, result_within'),
    (SIM, ['--ros-args', '-p', 'speed:=fast'], "speed: got 'fast', it must be a number from 0.01"),
    (SIM, ['--ros-args', '-p', 'speed:=2'], 'where publish_clock is false')])
def test_an_invalid_command_line_ends_the_node_with_one_line(module, arguments, problem):
    if module == SIM:
        pytest.importorskip('mujoco', reason='mujoco is not installed: pip install mujoco')
    done = subprocess.run([sys.executable, '-m', module, *arguments], capture_output=True,
                          text=True, timeout=60,
                          env={**os.environ, 'ROS_DOMAIN_ID': str(next_domain())})
    assert done.returncode == 2
    assert problem in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr
