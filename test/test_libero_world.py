# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The LIBERO benchmark in its own Python: the robot's URDF, its controllers, an episode."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from vla_ros.data.datasets import find_dataset
from vla_ros.errors import UnsupportedError
from vla_ros.motion import rotations
from vla_ros.robot.description import load_robot
from vla_ros.worlds.libero.environment import libero_python
from vla_ros.worlds.libero.environment import node_environment

try:
    PYTHON = str(libero_python(os.environ))
except UnsupportedError as error:
    pytest.skip(str(error), allow_module_level=True)

PROBE = """
import json
import numpy as np
from vla_ros.worlds.libero.robot import write_urdf
from vla_ros.worlds.libero.suites import TaskName
from vla_ros.worlds.libero.world import LiberoWorld
world = LiberoWorld(TaskName('libero_spatial', 0))
model, data, site, = world.model, world.data, world._grip_site
base = data.body('robot0_link0').xpos.copy()
random, poses = np.random.default_rng(3), []
ranges = model.jnt_range[[model.joint(f'robot0_joint{n}').id for n in range(1, 8)]]
import mujoco
for _ in range(5):
    joints = random.uniform(*ranges.T)
    data.qpos[world._joints] = joints
    mujoco.mj_forward(model, data)
    poses.append([joints.tolist(), (data.site_xpos[site] - base).tolist(),
                  data.site_xmat[site].tolist()])
steps = []
for axis in (1, 2, 3):
    world.reset(0)
    action = np.array([0.0] * 6 + [-1.0])
    action[axis] = 0.2
    for count in range(12):
        if count == 7:
            before = world.proprio()[:3], data.site_xmat[site].reshape(3, 3).copy()
        world.act(action)
    turn = data.site_xmat[site].reshape(3, 3) @ before[1].T
    steps.append([(world.proprio()[:3] - before[0]).tolist(), turn.tolist()])
world.reset(0)
target = world.joint_positions() + [0.1, -0.1, 0.1, 0.1, -0.1, 0.1, 0.1, 0.0]
for _ in range(60):
    world.command(target, np.zeros(8))
    world.step(0.01)
left = world.joint_positions() - target
world.reset(7)
first = world.state().tolist()
world.reset(0)
world.reset(7)
print('RESULT', json.dumps({'urdf': write_urdf(model), 'poses': poses, 'steps': steps,
    'left': left[:7].tolist(), 'success': world.is_success(), 'states': world.state_count,
    'same': first == world.state().tolist(), 'instruction': world.instruction,
    'image': list(world.render('agentview').shape)}))
"""


@pytest.fixture(scope='module')
def world():
    """Query one process of the benchmark for all tests, as it starts slowly."""
    done = subprocess.run([PYTHON, '-c', PROBE], env=node_environment(os.environ), text=True,
                          capture_output=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('RESULT ')]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[0].removeprefix('RESULT '))


def test_the_urdf_agrees_with_the_mjcf_by_forward_kinematics(world):
    pytest.importorskip('pinocchio')
    from vla_ros.motion.kinematics import Kinematics
    kinematics = Kinematics(load_robot('libero_panda', world['urdf']))
    for joints, position, rotation in world['poses']:
        pose = kinematics.pose(np.array(joints))
        np.testing.assert_allclose(pose.position, position, atol=1e-6)
        np.testing.assert_allclose(pose.rotation.ravel(), rotation, atol=1e-6)


def test_a_delta_moves_the_benchmarks_arm_by_the_units_of_the_dataset(world):
    libero = find_dataset('libero_spatial')
    metres = 0.2 * libero.position_unit_m * libero.delta_gain
    for axis, (moved_m, _) in zip((1, 2), world['steps']):
        assert moved_m[axis] / 5 == pytest.approx(metres, rel=0.05)
    turned = rotations.vector(np.array(world['steps'][2][1]))
    assert turned[0] / 5 == pytest.approx(0.2 * libero.rotation_unit_rad * libero.delta_gain,
                                          rel=0.05)


def test_the_joint_controller_reaches_its_target(world):
    np.testing.assert_allclose(world['left'], 0.0, atol=0.002)


def test_a_restored_initial_state_is_always_the_same(world):
    assert world['same'] and world['states'] == 50 and not world['success']
    assert world['instruction'] == ('pick up the black bowl between the plate and the ramekin '
                                    'and place it on the plate')
    assert world['image'] == [256, 256, 3]


def test_the_expert_succeeds_through_the_real_node():
    pytest.importorskip('rclpy')
    pytest.importorskip('vla_ros_msgs')
    done = subprocess.run(
        [sys.executable, '-m', 'vla_ros.cli.eval', '--suite', 'libero_spatial', '--tasks', '0',
         '--episodes', '1', '--policy', 'expert', '--seed', '7', '--jobs', '1', '--json'],
        text=True, capture_output=True, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result['episodes'][0]['state'] == 7
    assert result['all']['successes'] == 1, done.stderr
