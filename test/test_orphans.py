# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Orphaned shared memory of Fast DDS is removed, and no other file."""

import os
import subprocess
import sys

from domains import next_domain
import pytest

from vla_ros.transport.orphans import find_orphans
from vla_ros.transport.orphans import remove_orphans
from vla_ros.transport.orphans import SHARED_MEMORY

PARTICIPANT = """
import sys, rclpy
rclpy.init()
node = rclpy.create_node('doomed')
print('here', flush=True)
sys.stdin.read()
node.destroy_node()
rclpy.shutdown()
"""


def lock_of(segment):
    return segment.with_name(f'{segment.name}_el')


def set_old(segments):
    for segment in segments:
        os.utime(lock_of(segment), (0, 0))


@pytest.fixture
def participant():
    """Run a process with a node; yield it and its segments."""
    pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
    if os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp') != 'rmw_fastrtps_cpp':
        pytest.skip('this is about Fast DDS, another middleware is in use')
    process = subprocess.Popen([sys.executable, '-c', PARTICIPANT], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE,
                               env={**os.environ, 'ROS_DOMAIN_ID': str(next_domain())})
    with process:
        assert process.stdout.readline() == b'here\n'
        opened = {os.path.realpath(f'/proc/{process.pid}/fd/{number}')
                  for number in os.listdir(f'/proc/{process.pid}/fd')}
        segments = {SHARED_MEMORY / os.path.basename(name).removesuffix('_el') for name in opened
                    if '/fastdds_' in name and name.endswith('_el') and 'port' not in name}
        assert segments, 'Fast DDS uses no shared memory here'
        yield process, segments
        process.kill()


def test_shared_memory_of_a_running_process_is_kept(participant):
    process, segments = participant
    set_old(segments)
    assert not segments & set(find_orphans())
    remove_orphans()
    assert all(segment.exists() for segment in segments)
    process.communicate()
    assert process.returncode == 0
    assert not any(segment.exists() for segment in segments), 'a process removes its own segments'


def test_shared_memory_of_a_killed_process_is_removed(participant):
    process, segments = participant
    process.kill()
    process.wait()
    assert not segments & set(find_orphans()), 'it is too new to be an orphan'
    set_old(segments)
    assert segments <= set(find_orphans())
    assert remove_orphans() > 0
    assert not any(segment.exists() or lock_of(segment).exists() for segment in segments)


def test_other_files_are_not_touched(tmp_path):
    for name in ('fastdds_0123456789abcdef', 'fastdds_port7410_el', 'fastdds_port7410',
                 'iox2_something', 'fastdds_0123456789abcdef_el', 'fastdds_fedcba9876543210_el'):
        (tmp_path / name).write_bytes(b'12345')
        os.utime(tmp_path / name, (0, 0))
    assert remove_orphans(tmp_path) == 5
    assert {path.name for path in tmp_path.iterdir()} == {
        'fastdds_port7410_el', 'fastdds_port7410', 'iox2_something'}
