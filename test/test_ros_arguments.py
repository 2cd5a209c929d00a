# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a node is started with: a mistake is one line, and ``--help`` lists the parameters."""

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


def test_help_lists_every_parameter_and_what_it_may_be(capsys):
    with pytest.raises(SystemExit) as end:
        start_ros(node_parser('node', 'It is a test.', PARAMETERS), ['node', '--help'])
    assert end.value.code == 0
    told = ' '.join(capsys.readouterr().out.split())
    for parameter in PARAMETERS:
        assert f'{parameter.name}: ' in told and f'It is {parameter.allowed}; by' in told


@pytest.mark.parametrize('words', [['-p', 'nonsense'], ['--nonsense'], ['-p', 'a:=[1']])
def test_ros_arguments_that_cannot_be_read_are_an_error_of_ours(words):
    with pytest.raises(VlaError, match='^ROS arguments: .*--help says'):
        start_ros(node_parser('node', 'It is a test.', ()), ['node', '--ros-args', *words])


@pytest.mark.parametrize('module, words, problem', [
    (NODE, ['--checkpoint', 'x'], 'unrecognized arguments: --checkpoint x'),
    (NODE, ['--ros-args', '-p', 'device:=3'], "'device'"),
    (NODE, ['--ros-args', '-p', 'gates.jump:=0.1'], 'its new name, action_limits.jump'),
    (SIM, ['--vewer'], 'unrecognized arguments: --vewer'),
    (SIM, ['--ros-args', '-p', 'seed:=-3'], 'seed'),
    (SIM, ['--ros-args', '-p', 'speed:=fast'], "speed: got 'fast', it must be a number from 0.01"),
    (SIM, ['--ros-args', '-p', 'speed:=2'], 'where publish_clock is false')])
def test_a_mistake_on_the_command_line_ends_the_node_with_one_line(module, words, problem):
    if module == SIM:
        pytest.importorskip('mujoco', reason='mujoco is not installed: pip install mujoco')
    done = subprocess.run([sys.executable, '-m', module, *words], capture_output=True, text=True,
                          timeout=60, env={**os.environ, 'ROS_DOMAIN_ID': str(next_domain())})
    assert done.returncode == 2
    assert problem in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr
