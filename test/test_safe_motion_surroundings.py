# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The arm with failures of the machine: a full disk, full shared memory, a clock that jumps."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

from arm_harness import Robot  # noqa: E402, I100
from arm_harness import robot  # noqa: E402
from node_harness import camera_image  # noqa: E402
from node_harness import running_node  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402


@pytest.fixture
def tiny_disk(tmp_path):
    """Yield a folder on a disk of 64 KB."""
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(tmp_path)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f'a small file system cannot be mounted here: {done.stderr.strip()}')
    (tmp_path / 'filler').write_bytes(bytes(56_000))
    yield tmp_path
    subprocess.run(['umount', '-l', str(tmp_path)], check=True)


def test_a_full_disk_does_not_prevent_a_stop_or_a_rearm(tiny_disk):
    """The black box is not written, which the log reports."""
    with robot(black_box__folder=str(tiny_disk)) as (arm, _):
        arm.wait_for('RUNNING')
        arm.wait_for_motion()
        assert arm.call('hold').success
        arm.wait_for('HOLD', 'operator')
        arm.observer.poll(lambda: any('no black box was written' in line
                                      for line in arm.node.errors), 'a line', arm.node)
        assert arm.call('rearm').success
        arm.wait_for('RUNNING')
        arm.wait_for_motion()
    assert not list(Path(tiny_disk).glob('*.part'))


def test_simulated_time_that_goes_back_holds_until_the_next_result():
    """A replayed recording that starts again sets the clock back."""
    with running_node('arm=0.0', robot__file='six_axis_arm', action__space='dataset',
                      instruction='swing', use_sim_time='true', status__period='0.1',
                      black_box__folder='""') as (node, observer):
        arm = Robot(observer, node, '/arm/joint_command')
        clock = observer.node.create_publisher(Clock, '/clock', 10)
        now = [100_000_000_000]

        def tick():
            now[0] += 10_000_000
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now[0], 1_000_000_000)
            clock.publish(message)
            observer.show(camera_image(now[0] // 10_000_000 % 256, now[0]))

        observer.node.create_timer(0.01, tick)
        arm.wait_for('RUNNING')
        arm.wait_for_motion()
        now[0] -= 50_000_000_000
        observer.wait(lambda: any(
            status['state'] == 'HOLD' and 'the clock went back by' in status['message']
            for status in observer.diagnostics), 'a hold', node)
        arm.wait_for('RUNNING')
        arm.wait_for_motion()


def test_the_node_survives_full_shared_memory():
    """A private /dev/shm becomes full while an arm moves, and is full when another starts."""
    if os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp') != 'rmw_fastrtps_cpp':
        pytest.skip('only Fast DDS takes /dev/shm by itself')
    private = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c',
               'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"', 'sh']
    try:
        allowed = subprocess.run([*private, 'true'], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip('unshare (util-linux) is missing')
    if allowed.returncode:
        pytest.skip('a /dev/shm of its own needs the right to mount (CAP_SYS_ADMIN): '
                    f'{allowed.stderr.strip()}')
    program = Path(__file__).with_name('full_shm.py')
    done = subprocess.run([*private, sys.executable, str(program)], capture_output=True,
                          text=True, timeout=240, check=False)
    assert done.returncode == 0 and 'survived' in done.stdout, done.stdout + done.stderr
