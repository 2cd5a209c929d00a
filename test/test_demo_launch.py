# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""demo.launch.py as a user starts it: the arm fulfils an instruction, and every process ends."""

import os
import shutil
import subprocess
import sys

from domains import next_domain
import pytest

pytest.importorskip('launch_ros', reason='launch_ros is part of a ROS 2 installation')
ROS2 = shutil.which('ros2')
if ROS2 is None:
    pytest.skip('the command ros2 is part of a ROS 2 installation', allow_module_level=True)

DEADLINE = 180.0


def test_demo_launch_fulfils_an_instruction_and_ends(tmp_path):
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(next_domain()),
                   'ROS_LOG_DIR': str(tmp_path / 'log'), 'PYTHONUNBUFFERED': '1'}
    # By the Python of the tests: that of ros2 itself may lack what a virtual environment has.
    ended = subprocess.run(
        [sys.executable, ROS2, 'launch', 'vla_ros', 'demo.launch.py', 'device:=cpu',
         'instructions:=1', f'out:={tmp_path}'],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=DEADLINE)
    assert ended.returncode == 0, ended.stdout
    assert '1 of 1 instructions fulfilled' in ended.stdout, ended.stdout
    for process in ('vla_sim', 'vla_inference_node', 'vla_demo'):
        assert any(process in line and 'finished cleanly' in line
                   for line in ended.stdout.splitlines()), ended.stdout
    report = (tmp_path / 'report.html').read_text(encoding='utf-8')
    assert '<td class="yes">done</td>' in report
    assert (tmp_path / 'episode.mcap').read_bytes().startswith(b'\x89MCAP0\r\n')
