# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""demo.launch.py on a ROS installation: the arm does what it is told, and everything ends well."""

import os
from pathlib import Path
import random
import tempfile
import unittest

import pytest

for _name in ('launch_testing', 'launch_ros'):
    pytest.importorskip(_name, reason=f'{_name} is part of a ROS 2 installation')
pytest.importorskip('torch', reason='needs torch: the demo runs the real policy')
pytest.importorskip('mujoco', reason='needs mujoco: the demo simulates an arm')
from vla_ros.sim.pair import shipped_folder  # noqa: E402
if not (shipped_folder() / 'model.safetensors').is_file():
    pytest.skip('no trained checkpoint comes with the package', allow_module_level=True)

from launch import LaunchDescription  # noqa: E402,I100
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.actions import SetEnvironmentVariable  # noqa: E402
from launch.substitutions import PathJoinSubstitution  # noqa: E402
from launch_ros.substitutions import FindPackageShare  # noqa: E402
import launch_testing  # noqa: E402
from launch_testing.actions import ReadyToTest  # noqa: E402
from launch_testing.asserts import assertExitCodes  # noqa: E402

DEADLINE = 120.0
DOMAIN = random.randint(1, 101)
OUT = Path(tempfile.mkdtemp(prefix='vla_demo_'))
# Launch changes the environment of its own process, which is that of the other tests, too.
ENVIRONMENT = dict(os.environ)


@pytest.mark.launch_test
def generate_test_description():
    demo = PathJoinSubstitution([FindPackageShare('vla_ros'), 'launch', 'demo.launch.py'])
    return LaunchDescription([
        SetEnvironmentVariable('ROS_DOMAIN_ID', str(DOMAIN)),
        IncludeLaunchDescription(demo, launch_arguments={
            'device': 'cpu', 'out': str(OUT), 'instructions': '1'}.items()),
        ReadyToTest(),
    ])


class TestDemo(unittest.TestCase):
    """While it runs."""

    def test_the_referee_gets_an_instruction_fulfilled_and_ends_it_all(self, proc_info,
                                                                       proc_output):
        proc_output.assertWaitFor('of 1 instructions fulfilled', timeout=DEADLINE)
        proc_info.assertWaitForShutdown('vla_demo', timeout=DEADLINE)


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After it has ended."""

    @classmethod
    def tearDownClass(cls):
        os.environ.clear()
        os.environ.update(ENVIRONMENT)

    def test_every_process_ended_well(self, proc_info):
        assertExitCodes(proc_info)
        self.assertEqual(len(list(proc_info)), 3)

    def test_a_report_and_a_recording_are_left(self):
        report = (OUT / 'report.html').read_text(encoding='utf-8')
        self.assertIn('<td class="yes">done</td>', report)
        self.assertGreater((OUT / 'episode.mcap').stat().st_size, 10_000)
