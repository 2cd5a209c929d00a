# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Kinematics of three arms: reachable poses are reached, and others are refused."""

import arms
import numpy as np
import pytest
from vla_ros.motion.action_space import Pose
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.kinematics import Unreachable
from vla_ros.motion.rotations import axis_angle
from vla_ros.motion.rotations import euler_xyz
from vla_ros.motion.rotations import vector

pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')

ARMS = {'six_axis_arm': arms.six_axis_arm, 'ur5e': arms.ur5e, 'franka': arms.franka}


@pytest.fixture(params=ARMS, scope='module')
def robot(request):
    return ARMS[request.param]()


def _joint_range(robot):
    count = len(robot.joints)
    return robot.limits.lower[:count], robot.limits.upper[:count]


def _distance(one, other):
    angle = np.linalg.norm(vector(one.rotation.T @ other.rotation))
    return np.linalg.norm(one.position - other.position), np.degrees(angle)


def test_inverse_kinematics_reaches_1000_reachable_deltas(robot):
    kinematics = Kinematics(robot)
    lower, upper = _joint_range(robot)
    random = np.random.default_rng(5)
    for _ in range(1000):
        joints = random.uniform(0.9 * lower + 0.1 * upper, 0.1 * lower + 0.9 * upper)
        target = np.clip(joints + random.normal(0.0, 0.05, len(joints)), lower, upper)
        found = kinematics.solve(kinematics.pose(target), joints)
        assert ((found >= lower) & (found <= upper)).all()
        distance, angle = _distance(kinematics.pose(found), kinematics.pose(target))
        assert distance <= 1e-3 and angle <= 0.5


def test_an_unreachable_pose_is_an_error_with_the_missing_distance(robot):
    kinematics = Kinematics(robot)
    here = kinematics.pose(robot.posture)
    with pytest.raises(Unreachable, match=r'mm and .* degrees are missing'):
        kinematics.solve(Pose(here.position + [2.0, 0.0, 0.0], here.rotation), robot.posture)


def test_the_error_of_an_unreachable_pose_has_the_nearest_joint_positions(robot):
    """The arm is stretched out; the pose lies up to 10 mm further."""
    kinematics = Kinematics(robot)
    lower, upper = _joint_range(robot)
    outwards = kinematics.pose(robot.posture).position * [1.0, 1.0, 0.0]
    outwards /= np.linalg.norm(outwards)
    joints = robot.posture
    for _ in range(200):
        pose = kinematics.pose(joints)
        goal = Pose(pose.position + 0.01 * outwards, pose.rotation)
        try:
            joints = kinematics.solve(goal, joints)
        except Unreachable as error:
            found = error.nearest
            break
    assert ((found >= lower) & (found <= upper)).all()
    distance, angle = _distance(kinematics.pose(found), goal)
    assert distance < 0.01 and angle < 0.5


def test_a_small_motion_through_a_singularity_is_refused():
    robot = arms.six_axis_arm()
    kinematics = Kinematics(robot)
    straight = np.array([0.0, 0.3, 0.2, 0.0, 0.0, 0.0])  # axes 4 and 6 are one line
    here = kinematics.pose(straight)
    # A rotation about an axis across the wrist's plane needs a quarter turn of joint 4 first.
    turned = Pose(here.position, here.rotation @ euler_xyz(np.array([0.08, 0.0, 0.0])))
    with pytest.raises(Unreachable, match='near a singular position: joint_4') as caught:
        kinematics.solve(turned, straight)
    assert caught.value.nearest is None


def test_redundant_joints_tend_to_the_posture():
    robot = arms.franka()
    kinematics = Kinematics(robot)
    home = kinematics.pose(robot.posture)
    # The elbow turned aside while the hand stays where it is.
    twisted = robot.posture + np.array([0.3, 0.0, -0.3, 0.0, 0.0, 0.0, 0.0])
    start = joints = kinematics.solve(home, twisted)
    for step in range(200):
        shift = np.array([0.001 * (-1) ** step, 0.0, 0.0])
        joints = kinematics.solve(Pose(home.position + shift, home.rotation), joints)
    assert (np.linalg.norm(joints - robot.posture)
            < 0.2 * np.linalg.norm(start - robot.posture))


def test_the_velocity_of_the_tip_is_the_derivative_of_its_pose(robot):
    kinematics = Kinematics(robot)
    speeds = np.linspace(-0.4, 0.5, len(robot.joints))
    dt = 1e-6
    before, after = (kinematics.pose(robot.posture + sign * dt * speeds) for sign in (-0.5, 0.5))
    expected = np.concatenate([after.position - before.position,
                               vector(after.rotation @ before.rotation.T)]) / dt
    assert np.allclose(kinematics.velocity(robot.posture, speeds), expected, atol=1e-5)


def test_euler_angles_are_rotations_about_fixed_axes_and_vectors_are_inverted():
    roll, pitch, yaw = 0.3, -0.4, 0.5
    about = [axis_angle(angle * np.eye(3)[axis])
             for axis, angle in enumerate((roll, pitch, yaw))]
    assert np.allclose(euler_xyz(np.array([roll, pitch, yaw])), about[2] @ about[1] @ about[0])
    for turn in ([0.1, -0.2, 0.3], [0.0, 0.0, 0.0], [1e-9, 0.0, 0.0], [2.0, 1.0, 0.5]):
        assert np.allclose(vector(axis_angle(np.array(turn))), turn, atol=1e-12)
