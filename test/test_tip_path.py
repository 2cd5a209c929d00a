# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The path of the tip in the image agrees with a simulated camera."""

import numpy as np
import pytest
from vla_ros.camera.projection import Calibration
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.tip_path import TipPath
from vla_ros.errors import VlaError
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.scene import draw_scene

pytest.importorskip('pinocchio')

HOME = dict(zip([f'joint_{index}' for index in range(1, 7)],
                [0.0, 0.0, 0.0, 0.0, 1.5708, 0.0])) | {'gripper': 0.02}
#: A camera above the arm that looks down: right in the image is -y, down is -x.
ABOVE = (0.4, 0.0, 2.0, 0.7071068, -0.7071068, 0.0, 0.0)
CAMERA = Calibration((101, 101), np.array([[100.0, 0, 50], [0, 100.0, 50], [0, 0, 1]]),
                     np.zeros(8))


def path(space='dataset', pose=ABOVE, **parameters):
    config = NodeConfig(robot_file='six_axis_arm', action_space=space, **parameters)
    return TipPath(config, '', pose)


def test_deltas_are_added_from_the_tip():
    actions = np.array([[0.02, 0.0, 0.0, 0, 0, 0, 1.0], [0.0, 0.03, 0.0, 0, 0, 0, 1.0]])
    points = path().project(actions, 'bridge_orig', HOME, CAMERA)
    assert points.shape == (3, 2)
    (right_1, down_1), (right_2, down_2) = np.diff(points, axis=0)
    # In this image +x is up and +y is left.
    assert down_1 < 0 and abs(right_1) < 1e-6
    assert right_2 < 0 and abs(down_2) < 1e-6
    assert right_2 / down_1 == pytest.approx(1.5)


def test_the_path_is_where_the_simulated_camera_sees_the_tip():
    world_module = pytest.importorskip('vla_ros.worlds.world')
    robot = Robot.load()
    world = world_module.World(robot)
    world.place(draw_scene(3))
    camera = world.data.camera(world_module.CAMERA)
    # MuJoCo's cameras look along -z, with y up.
    rotation = camera.xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    quaternion = np.zeros(4)
    world_module.mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    calibration = Calibration((world.image_size,) * 2, world.camera_matrix(), np.zeros(8))

    goal = np.array([[0.4, 0.3, -0.2, 0.1, 1.2, 0.5, 0.02]])
    points = path(pose=(*camera.xpos, *quaternion[1:], quaternion[0])).project(
        goal, 'vla_ros_tabletop', HOME, calibration)
    start = np.array(list(HOME.values()))
    expected = [world.project(robot.forward(dict(zip(
        HOME, start + fraction * (goal[0] - start))), 'tool')[:3, 3])
        for fraction in np.linspace(0.0, 1.0, 7)]
    np.testing.assert_allclose(points, expected, atol=1e-6)
    assert np.linalg.norm(points[-1] - points[0]) > 0.1


@pytest.mark.parametrize('pose, problem', [
    ((0.0,) * 7, 'camera.pose'), ((1.0, 2.0), 'camera.pose'),
    ((0.0, 0.0, float('inf'), 0.0, 0.0, 0.0, 1.0), 'camera.pose')])
def test_an_invalid_camera_pose_is_refused(pose, problem):
    with pytest.raises(VlaError, match=problem):
        path(pose=pose)


def test_a_missing_joint_or_dataset_is_named():
    action = np.zeros((1, 7))
    with pytest.raises(VlaError, match='joint_2'):
        path().project(action, 'bridge_orig', {'joint_1': 0.0}, CAMERA)
    with pytest.raises(VlaError, match='not a dataset whose actions are known'):
        path().project(action, 'nothing', HOME, CAMERA)
    with pytest.raises(VlaError, match='raw'):
        path('raw').project(action, 'bridge_orig', HOME, CAMERA)
