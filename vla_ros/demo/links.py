# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Transforms of the robot's links, as robot_state_publisher gives them to viewers."""

from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import JointState

from vla_ros.worlds.robot import Robot


def link_transforms(robot: Robot, joints: JointState) -> list[TransformStamped]:
    """Return each link's pose in the frame of the link before it, m; unknown joints are at 0."""
    transforms = []
    positions = dict(zip(joints.name, joints.position))
    for joint in robot.joints.values():
        position = positions.get(joint.mimic or joint.name, 0.0)
        found = TransformStamped(child_frame_id=joint.child)
        found.header.stamp = joints.header.stamp
        found.header.frame_id = joint.parent
        place, turn = found.transform.translation, found.transform.rotation
        place.x, place.y, place.z = joint.transform(position)[:3, 3].tolist()
        turn.w, turn.x, turn.y, turn.z = joint.quaternion(position).tolist()
        transforms.append(found)
    return transforms
