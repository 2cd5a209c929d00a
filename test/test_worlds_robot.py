# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The kinematics of the simulated robot agree with the URDF, MuJoCo and pinocchio."""

import numpy as np
import pytest

from vla_ros.worlds.robot import ARM_JOINTS
from vla_ros.worlds.robot import GRIPPER_JOINT
from vla_ros.worlds.robot import JOINTS
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.robot import TopDownArm
from vla_ros.worlds.robot import UnreachableError

ROBOT = Robot.load()
LINKS = tuple(joint.child for joint in ROBOT.joints.values())


def random_positions(count):
    limits = ROBOT.limits()
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield dict(zip(JOINTS, rng.uniform(limits[:, 0], limits[:, 1]).tolist()))


def test_link_poses_of_the_mjcf_equal_those_of_the_urdf():
    mujoco = pytest.importorskip('vla_ros.worlds.world').mujoco
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="radian"/><worldbody>{ROBOT.mjcf_body()}</worldbody></mujoco>')
    data = mujoco.MjData(model)
    for positions in random_positions(100):
        for name, position in positions.items():
            data.joint(name).qpos[0] = position
        data.joint('gripper_mirror').qpos[0] = positions[GRIPPER_JOINT]
        mujoco.mj_kinematics(model, data)
        for link in LINKS:
            pose = ROBOT.forward(positions, link)
            assert np.allclose(data.body(link).xpos, pose[:3, 3], atol=1e-7), link
            assert np.allclose(data.body(link).xmat.reshape(3, 3), pose[:3, :3], atol=1e-7), link


def test_forward_kinematics_agrees_with_pinocchio():
    pinocchio = pytest.importorskip('pinocchio')
    model = pinocchio.buildModelFromXML(ROBOT.urdf)
    data = model.createData()
    frame = model.getFrameId('tool')
    for positions in random_positions(20):
        q = np.zeros(model.nq)
        for name, position in positions.items():
            q[model.joints[model.getJointId(name)].idx_q] = position
        pinocchio.framesForwardKinematics(model, data, q)
        pose = ROBOT.forward(positions)
        assert np.allclose(data.oMf[frame].homogeneous, pose, atol=1e-7)


def test_the_quaternion_of_a_joint_is_the_rotation_of_its_transform():
    pinocchio = pytest.importorskip('pinocchio')
    for joint in ROBOT.joints.values():
        for position in (0.0, -0.4, 1.3, np.pi, -np.pi):
            w, x, y, z = joint.quaternion(position)
            assert np.allclose(pinocchio.Quaternion(w, x, y, z).matrix(),
                               joint.transform(position)[:3, :3], atol=1e-12), joint.name


def test_top_down_joints_place_the_tool_at_its_target():
    arm = TopDownArm(ROBOT)
    rng = np.random.default_rng(1)
    for _ in range(200):
        radius, angle = rng.uniform(0.22, 0.6), rng.uniform(-1.5, 1.5)
        point = np.array([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0.01, 0.2)])
        pose = ROBOT.forward(dict(zip(ARM_JOINTS, arm.solve(point))))
        assert np.allclose(pose[:3, 3], point, atol=1e-6)
        assert np.allclose(pose[:3, 2], [0, 0, -1], atol=1e-6)


@pytest.mark.parametrize('point', [(0.9, 0, 0.1), (-0.4, 0.01, 0.1)])
def test_a_point_out_of_reach_is_refused(point):
    with pytest.raises(UnreachableError, match=str(point[0])):
        TopDownArm(ROBOT).solve(np.array(point))
