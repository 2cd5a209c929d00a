# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""transport.launch.py with each transport that the ROS installation has: images arrive."""

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import unittest

import pytest

for _name in ('launch_testing', 'launch_ros'):
    pytest.importorskip(_name, reason=f'{_name} is part of a ROS 2 installation')

from domains import next_domain  # noqa: E402, I100
from launch import LaunchDescription  # noqa: E402
from launch.actions import ExecuteProcess  # noqa: E402
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.actions import RegisterEventHandler  # noqa: E402
from launch.actions import SetEnvironmentVariable  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch_harness import RestoresEnvironment  # noqa: E402
import launch_testing  # noqa: E402
from launch_testing.actions import ReadyToTest  # noqa: E402
from launch_testing.asserts import assertExitCodes  # noqa: E402
from vla_ros.ros.launching import OnTransportReady  # noqa: E402
from vla_ros.transport.plan import TRANSPORTS  # noqa: E402
from vla_ros.transport.planner import transport_in_use  # noqa: E402

DEADLINE = 60.0
DOMAIN = str(next_domain())
LAUNCH_FILE = Path(__file__).parents[1] / 'launch' / 'transport.launch.py'
PLANNED = ('RMW_IMPLEMENTATION', 'FASTDDS_DEFAULT_PROFILES_FILE', 'CYCLONEDDS_URI')
IS_UNAVAILABLE = {
    'cyclonedds': not os.environ.get('AMENT_PREFIX_PATH') or subprocess.run(
        [sys.executable, '-c', 'import rclpy; rclpy.get_rmw_implementation_identifier()'],
        env={**os.environ, 'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}).returncode != 0,
    'iceoryx': shutil.which('iox-roudi') is None,
}
AVAILABLE = [name for name in TRANSPORTS if not IS_UNAVAILABLE.get(name)
             and (name == 'fastrtps' or not IS_UNAVAILABLE['cyclonedds'])]


#: Measures a stream in the environment of the launch. It runs until a signal, as a launch without
#: running processes ends.
PAIR = """
import json, os, signal
from vla_ros.bench.transport import measure
row = measure('fastrtps', 'plan', '640x480', 30, os.environ)
print(json.dumps({'received': row.received, 'environment': dict(os.environ)}), flush=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
signal.sigwait([signal.SIGINT])
"""


@pytest.mark.launch_test
@launch_testing.parametrize('transport', AVAILABLE)
def generate_test_description(transport):
    """Return a launch description that includes the transport and waits for it."""
    pair = ExecuteProcess(cmd=[sys.executable, '-c', PAIR], name='pair')
    return LaunchDescription([
        SetEnvironmentVariable('ROS_DOMAIN_ID', DOMAIN),
        SetEnvironmentVariable('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'),
        *(SetEnvironmentVariable(name, '') for name in PLANNED),
        RegisterEventHandler(OnTransportReady([pair])),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(LAUNCH_FILE)),
            launch_arguments={'transport': transport, 'frame': '640x480'}.items()),
        ReadyToTest(),
    ]), {'pair': pair}


class TestImages(unittest.TestCase):
    """While it runs."""

    def test_images_arrive_over_the_planned_transport(self, proc_output, pair, transport):
        proc_output.assertWaitFor('"received"', process=pair, timeout=DEADLINE,
                                  stream='stdout')
        text = ''.join(output.text.decode() for output in proc_output[pair])
        (line,) = [line for line in text.splitlines() if line.startswith('{')]
        result = json.loads(line)
        self.assertGreaterEqual(result['received'], 24)
        self.assertEqual(transport_in_use(result['environment']),
                         'fastrtps' if transport == 'fastrtps' else 'cyclonedds')
        # iceoryx is recognised only by RouDi's configuration.
        self.assertEqual('iceoryx' in result['environment']['CYCLONEDDS_URI'],
                         transport == 'iceoryx')


@launch_testing.post_shutdown_test()
class TestEnd(RestoresEnvironment, unittest.TestCase):
    """After it was asked to end."""

    def test_all_processes_ended_with_status_0(self, proc_info):
        assertExitCodes(proc_info)
