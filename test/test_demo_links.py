# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The poses of the links that the demo records for viewers."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pinocchio = pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')

from sensor_msgs.msg import JointState  # noqa: E402, I100

from vla_ros.demo.links import link_transforms  # noqa: E402
from vla_ros.demo.mcap_file import McapFile  # noqa: E402
from vla_ros.worlds.robot import JOINTS  # noqa: E402
from vla_ros.worlds.robot import Robot  # noqa: E402


def pose_of(transform):
    """Return a transform as float64 (4, 4), as a viewer computes it."""
    rotation, translation = transform.rotation, transform.translation
    return pinocchio.SE3(pinocchio.Quaternion(rotation.w, rotation.x, rotation.y, rotation.z),
                         np.array([translation.x, translation.y, translation.z])).homogeneous


@pytest.mark.parametrize('link', ['tool', 'right_finger', 'upper_arm'])
def test_the_chain_of_link_transforms_gives_the_pose_of_the_kinematics(link):
    robot = Robot.load()
    positions = [0.3, -0.2, 0.9, -0.4, 1.1, 0.5, 0.02]
    joints = JointState(name=JOINTS, position=positions)
    by_child = {found.child_frame_id: found for found in link_transforms(robot, joints)}
    pose, frame = np.eye(4), link
    while frame != 'base_link':
        pose = pose_of(by_child[frame].transform) @ pose
        frame = by_child[frame].header.frame_id
    assert np.allclose(pose, robot.forward(dict(zip(JOINTS, positions)), link), atol=1e-9)


def test_recorded_transforms_can_be_read_back(tmp_path):
    reading = pytest.importorskip('mcap.reader')
    decoding = pytest.importorskip('mcap_ros2.decoder')
    joints = JointState(name=JOINTS, position=[0.3, -0.2, 0.9, -0.4, 1.1, 0.5, 0.02])
    joints.header.stamp.sec, joints.header.stamp.nanosec = 12, 345
    written = link_transforms(Robot.load(), joints)
    with McapFile(tmp_path / 'links.mcap') as file:
        file.write_transforms('/tf', written, 12_000_000_345)
    with (tmp_path / 'links.mcap').open('rb') as content:
        reader = reading.make_reader(content, decoder_factories=[decoding.DecoderFactory()])
        (schema, channel, _, message), = reader.iter_decoded_messages()
    assert (schema.name, channel.topic) == ('tf2_msgs/msg/TFMessage', '/tf')
    assert len(message.transforms) == len(written)
    for read, link in zip(message.transforms, written):
        assert (read.header.stamp.sec, read.header.stamp.nanosec) == (12, 345)
        assert (read.header.frame_id, read.child_frame_id) == (
            link.header.frame_id, link.child_frame_id)
        assert np.array_equal(pose_of(read.transform), pose_of(link.transform))
