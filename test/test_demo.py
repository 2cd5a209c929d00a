# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The demo as a user runs it: real processes, real DDS, the real node."""

import os
from pathlib import Path
import random
import re
import signal
import subprocess
import sys

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs rclpy: the demo runs ROS nodes')
pytest.importorskip('torch', reason='needs torch: the demo runs the real policy')

COMMAND = [sys.executable, '-m', 'vla_ros.demo.main']
START_PATIENCE = 120


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, 'ROS_DOMAIN_ID': str(random.randint(1, 100)),
            'XDG_CACHE_HOME': str(tmp_path), 'PYTHONUNBUFFERED': '1'}


@pytest.fixture
def demo(environment):
    """Start the demo; whatever becomes of the test, it ends."""
    started = []

    def start(*arguments):
        process = subprocess.Popen([*COMMAND, *arguments], env=environment, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def children_of(process):
    """List the running processes whose parent this is, by id."""
    tasks = Path(f'/proc/{process.pid}/task/{process.pid}/children')
    return [int(number) for number in tasks.read_text().split()]


def is_running(number):
    try:
        return Path(f'/proc/{number}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_commands_come_out_and_are_summed_up(demo):
    process = demo('--seconds', '6', '--device', 'cpu')
    output, errors = process.communicate(timeout=START_PATIENCE + 60)
    assert process.returncode == 0, errors
    assert re.search(r'^ +\d+\.\d s +\d+\.\d Hz +latency +\d+ ms +x [+-]\d\.\d+ ', output,
                     re.MULTILINE), output
    frames = re.search(r'frames published +(\d+) \((\d+\.\d)', output)
    # Fast DDS without the profile loses more than that, and at times every image.
    received = re.search(r'frames received +at (\d+\.\d+) Hz', output)
    assert float(received.group(1)) > 0.8 * float(frames.group(2))
    commands = re.search(r'commands received +(\d+)', output)
    assert 100 < int(frames.group(1)) < 200
    assert 3 < int(commands.group(1)) < 200
    assert re.search(r'latency +p50 \d+\.\d ms, p99 \d+\.\d ms', output)
    assert re.search(r'policy +cpu, float32, attention \w+', output)
    answered = re.findall(r"^ +(\d+)  '([\w ]+)' \((\d+) different\)", output, re.MULTILINE)
    assert len(answered) == 3
    assert sum(int(count) for count, _, _ in answered) == int(commands.group(1))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_process(demo, number):
    process = demo('--seconds', '600', '--device', 'cpu')
    for line in process.stdout:
        if line.startswith('instruction'):
            break
    children = children_of(process)
    assert len(children) == 2
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors == ''
    assert not any(map(is_running, children))


def test_a_node_that_cannot_work_is_reported_in_one_line(demo, tmp_path):
    process = demo('--checkpoint', str(tmp_path / 'absent'), '--device', 'cpu')
    _, errors = process.communicate(timeout=START_PATIENCE)
    assert process.returncode == 2
    assert errors.startswith('vla_demo: no joint command arrived')
    assert 'absent: no such folder' in errors
    assert len(errors.splitlines()) == 1


def test_someone_elses_commands_are_not_taken_for_its_own(demo, environment):
    from rclpy.context import Context
    from sensor_msgs.msg import JointState
    context = Context()
    rclpy.init(context=context, domain_id=int(environment['ROS_DOMAIN_ID']))
    node = rclpy.create_node('driver', context=context)
    node.create_publisher(JointState, '/arm/joint_command', 1)
    process = demo('--device', 'cpu')
    _, errors = process.communicate(timeout=START_PATIENCE)
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    assert process.returncode == 2
    assert errors.startswith('vla_demo: 2 nodes publish /arm/joint_command')
    assert 'set ROS_DOMAIN_ID' in errors


def test_a_camera_that_cannot_see_is_reported_in_one_line(demo, tmp_path):
    (tmp_path / 'photo.jpg').write_text('not a photograph')
    process = demo('--photo', str(tmp_path / 'photo.jpg'))
    _, errors = process.communicate(timeout=START_PATIENCE)
    assert process.returncode == 2
    assert re.match(r'vla_demo: demo_camera ended with status 2: .*not an image', errors)
    assert len(errors.splitlines()) == 1


def test_without_rclpy_the_way_to_get_it_is_said(environment):
    done = subprocess.run(
        [sys.executable, '-c', 'import sys; sys.modules["rclpy"] = None; '
         'from vla_ros.demo.main import main; sys.exit(main([]))'],
        env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert 'run ./scripts/demo' in done.stderr
    assert len(done.stderr.splitlines()) == 1
