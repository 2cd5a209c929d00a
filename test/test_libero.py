# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Parts of the LIBERO evaluation that need no benchmark: tasks, schedule, expert, replay."""

from dataclasses import replace
import json
import math
import os
import subprocess
import sys

import arms
from executor_harness import HOME
from executor_harness import make_executor
from executor_harness import plan
import numpy as np
import pytest
from vla_ros.cli.eval import main
from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.datasets import find_dataset
from vla_ros.data.transforms import transform_description
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.motion import rotations
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.sim.libero.expert_policy import ExpertPolicy
from vla_ros.sim.libero.replay import make as make_replay
from vla_ros.sim.libero.schedule import Schedule
from vla_ros.util.share import find_share
from vla_ros.worlds.libero.expert import Expert
from vla_ros.worlds.libero.expert import WorldState
from vla_ros.worlds.libero.grasps import Boxes
from vla_ros.worlds.libero.grasps import find_grasp
from vla_ros.worlds.libero.grasps import turn
from vla_ros.worlds.libero.suites import step_limit
from vla_ros.worlds.libero.suites import SUITES
from vla_ros.worlds.libero.suites import TaskName
import yaml

NOTHING = Boxes(np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3)))
IMAGE = np.zeros((4, 4, 3), np.uint8)


def box(center, halves):
    return Boxes(np.array([center]), np.eye(3)[None], np.array([halves]))


def state(tip=(0.0, 0.0, 1.2), object_position=(0.1, 0.0, 0.9)):
    """Return an open hand that points down, its fingers' axis along y, and an object beside it."""
    return np.array([*tip, math.pi, 0.0, 0.0, 0.04, -0.04, *object_position, *object_position,
                     math.pi / 2, 0.1, 0.2, 0.92, 1.0, 0.92])


@pytest.mark.parametrize(('text', 'problem'), [
    ('libero_spatial', 'SUITE/TASK, such as libero_spatial/3'),
    ('libero_spatial/x', 'SUITE/TASK'),
    ('libero_spatial/10', 'a whole number from 0 to 9'),
    ('libero_moon/0', 'one of libero_spatial, libero_object'),
])
def test_an_invalid_task_is_refused_with_the_valid_ones(text, problem):
    with pytest.raises(ParameterError, match=problem):
        TaskName.parse(text)


def test_a_variant_has_the_step_limit_of_its_suite():
    assert str(TaskName.parse('libero_90/89')) == 'libero_90/89'
    assert {suite: step_limit(suite) for suite in SUITES[:5]} == {
        'libero_spatial': 220, 'libero_object': 280, 'libero_goal': 300, 'libero_10': 520,
        'libero_90': 400}
    assert step_limit('libero_object_swap') == step_limit('libero_object_object') == 280


def test_the_plan_uses_the_initial_states_in_the_order_of_the_benchmark():
    suite = pytest.importorskip('vla_ros.evaluation.suite')
    plan = suite.plan_suite('libero_spatial', [3, 1], 5, 0)
    assert [(str(task), states) for task, states in plan] == [
        ('libero_spatial/3', [0, 1, 2]), ('libero_spatial/1', [0, 1])]
    assert suite.plan_suite('libero_goal', None, 1, 49)[0][1] == [49]
    with pytest.raises(ParameterError, match='from 1 to 100'):
        suite.plan_suite('libero_spatial', [3, 1], 101, 0)


def test_without_the_benchmark_one_line_names_the_command_to_install_it(tmp_path):
    pytest.importorskip('rclpy')
    done = subprocess.run(
        [sys.executable, '-m', 'vla_ros.sim.node', '--world', 'libero_spatial/3'], text=True,
        capture_output=True, env={**os.environ, 'VLA_LIBERO_ENV': str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr == (f'vla_sim: LIBERO: it is not installed in {tmp_path}; '
                           'run scripts/setup libero\n')


@pytest.mark.parametrize(('arguments', 'problem'), [
    (['--suite', 'libero_moon'], "suite: got 'libero_moon', it must be one of libero_spatial"),
    (['--tasks', '3'], '--tasks: got [3], it must be left out without --suite'),
    (['--suite', 'libero_goal', '--blank'], '--blank: got True, it must be left out with'),
    (['--suite', 'libero_goal', '--policy', 'replay'], '--checkpoint: got None, it must be given'),
    (['--suite', 'libero_goal', '--latency', '3'], '--latency: got 3.0, it must be from 0 to 2'),
])
def test_options_that_exclude_each_other_are_one_line(arguments, problem, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f'vla_eval: {problem}') and captured.err.count('\n') == 1
    assert captured.out == ''


def test_paused_time_waits_for_the_result_and_its_command():
    schedule = Schedule(True, 1.0, 5.0, 0.01)
    schedule.image_published(10, 0.0)
    assert schedule.must_wait(0.6, False)
    assert not schedule.must_wait(0.7, False)  # no image has a result yet: the next one
    schedule.image_published(10, 1.0)
    assert schedule.must_wait(1.1, False)
    assert not schedule.is_time_to_repeat(9.0)
    assert schedule.action_received(10)
    assert not schedule.action_received(10)  # the result of the repeated image
    assert not schedule.must_wait(1.4, True)
    assert schedule.is_due(1.4)
    schedule.advance_time(1)
    assert schedule.elapsed == 0.01
    assert schedule.must_wait(1.41, False)  # for the command of this tick
    assert not schedule.must_wait(1.41, True)
    schedule.image_published(20, 1.5)
    assert schedule.must_wait(1.6, True)
    assert not schedule.is_time_to_repeat(6.4)
    assert schedule.is_time_to_repeat(6.6)
    assert schedule.is_time_to_repeat(11.7)
    assert schedule.must_wait(16.8, True)
    assert not schedule.is_time_to_repeat(16.8)  # the arm is held: an action is lost
    assert not schedule.must_wait(16.8, True) and schedule.actions == 2


def test_executed_actions_are_counted_by_their_duration_not_by_images():
    schedule = Schedule(True, 1.0, 5.0, 0.01)
    schedule.advance_time(7)
    assert schedule.executed(5) == 0
    schedule.action_received(1)
    assert schedule.executed(5) == 0
    schedule.advance_time(1)
    assert schedule.executed(5) == 1
    schedule.advance_time(39)
    schedule.action_received(2)  # the next chunk of eight
    assert (schedule.executed(5), schedule.actions) == (8, 2)
    schedule.begin()
    assert schedule.executed(5) == 0


def test_a_narrow_object_is_grasped_across_and_a_wide_one_at_its_rim():
    narrow = find_grasp(box([0.1, 0.2, 0.02], [0.05, 0.02, 0.02]), NOTHING, 0.0)
    assert turn(narrow.angle, math.pi / 2) == pytest.approx(0.0, abs=0.4)
    np.testing.assert_allclose(narrow.point[:2], [0.1, 0.2], atol=1e-9)
    wide = find_grasp(box([0.0, 0.0, 0.02], [0.05, 0.05, 0.02]), NOTHING, 0.0)
    assert np.hypot(*wide.point[:2]) > 0.05
    wall = box([wide.point[0] * 1.8, wide.point[1] * 1.8, 0.03], [0.03, 0.03, 0.05])
    other = find_grasp(box([0.0, 0.0, 0.02], [0.05, 0.05, 0.02]), wall, 0.0)
    assert np.linalg.norm(other.point - wide.point) > 0.02


def test_the_policys_action_is_the_experts_within_a_bin():
    policy, expert = ExpertPolicy('libero_object'), Expert()
    assert policy.spec.unnorm_key == 'libero_object'
    now = state()
    chunk = policy.infer(Observation((IMAGE,), 'pick up', now))
    expected = expert.act(WorldState.read(now))
    assert np.abs(expected[:6]).max() > 0.1
    np.testing.assert_allclose(chunk.actions[0, :6], expected[:6], rtol=0.0, atol=2 / 255)
    assert chunk.actions[0, 6] == pytest.approx(1.0, abs=2 / 255)  # open
    tokenizer = ActionTokenizer(32000)
    np.testing.assert_array_equal(tokenizer.decode(chunk.token_ids), chunk.normalized[0])


def expert_episode(length=150):
    """Return situations of a hand that follows the expert, float64 (length, 20)."""
    expert, now, found = Expert(), state(), []
    for _ in range(length):
        found.append(now.copy())
        action = expert.act(WorldState.read(now))
        now[:3] += action[:3] * 0.05 * 0.26
        now[6:8] += (1.0, -1.0) * np.array(0.004 if action[6] else -0.004)
        now[6:8] = np.clip(now[6:8], (0.02, -0.04), (0.04, -0.02))
        if now[6] < 0.03 and np.abs(now[:3] - now[8:11]).max() < 0.02:
            now[8:11] = now[11:14] = now[:3]
    return np.array(found)


def robot_actions():
    """Yield the robot's actions and those of the expert for each situation of an episode."""
    file = find_share() / 'config' / 'libero.yaml'
    transforms = yaml.safe_load(file.read_text())['/**']['ros__parameters']['action']['transforms']
    policy = load_policy(PolicyConfig(
        policy='vla_ros.sim.libero.expert_policy:make', checkpoint='', unnorm_key='libero_spatial',
        action_transforms=tuple(transforms)))
    expert = Expert()
    for now in expert_episode():
        expected = expert.act(WorldState.read(now))
        # LIBERO closes by 1 and opens by -1.
        expected[6] = 1.0 - 2.0 * expected[6]
        yield policy.infer(Observation((IMAGE,), 'pick up', now)).actions, expected, transforms


def test_the_action_at_the_benchmarks_controller_is_the_experts_within_a_bin():
    pairs = [(actions[0], expected) for actions, expected, _ in robot_actions()]
    received, expected = map(np.array, zip(*pairs))
    np.testing.assert_allclose(received[:, :6], expected[:, :6], rtol=0.0, atol=2 / 255)
    np.testing.assert_array_equal(received[:, 6], expected[:, 6])
    assert np.abs(expected[:, :3]).max(0).min() > 0.3 and set(received[:, 6]) == {-1.0, 1.0}


def test_the_planned_motion_is_the_experts_action_within_a_bin():
    pytest.importorskip('ruckig')
    pytest.importorskip('pinocchio')
    libero, robot = find_dataset('libero_spatial'), arms.six_axis_arm()
    # The limits are those of a stronger arm, as only the planned motion is compared.
    robot = replace(robot, limits=replace(robot.limits, velocity=100.0 * robot.limits.velocity,
                                          acceleration=1e4 * robot.limits.acceleration))
    bin_m, bin_rad = (2 / 255 * libero.delta_gain * unit
                      for unit in (libero.position_unit_m, libero.rotation_unit_rad))
    executor = None
    for actions, expected, transforms in robot_actions():
        if executor is None:
            executor, kinematics, limits = make_executor(
                robot, transform_description(libero, transforms))
            start = kinematics.pose(HOME[:6])
        executor.start(HOME, 0.0)
        end = plan(executor, actions, 0.0).waypoints[-1]
        np.testing.assert_allclose(end.pose.position - start.position,
                                   127.5 * bin_m * expected[:3], rtol=0.0, atol=bin_m)
        np.testing.assert_allclose(rotations.vector(end.pose.rotation @ start.rotation.T),
                                   127.5 * bin_rad * expected[3:6], rtol=0.0, atol=bin_rad)
        assert (end.joints[6] > HOME[6]) == (expected[6] < 0.0)
    assert limits.violations.keys() <= {'gripper'}


def test_the_expert_refuses_an_observation_without_the_situation():
    with pytest.raises(ObservationError, match='/vla_sim/situation'):
        ExpertPolicy('libero_object').infer(Observation((IMAGE,), 'pick up'))


def test_a_recording_is_replayed_by_its_instruction_and_ends_at_rest(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([[0.1] * 6 + [-1.0], [0.2] * 6 + [1.0]]))
    (tmp_path / 'recording.json').write_text(json.dumps(
        [{'instruction': 'pick up', 'file': 'a.npy'}]))
    policy = make_replay(PolicyConfig(policy='a:b', checkpoint=str(tmp_path)))
    actions = [policy.infer(Observation((IMAGE,), 'pick up')).actions[0] for _ in range(3)]
    # 1 opens for OpenVLA and -1 for the simulator, which is what was recorded.
    np.testing.assert_allclose(actions, [[0.1] * 6 + [1.0], [0.2] * 6 + [0.0], [0.0] * 7])
    whole = make_replay(PolicyConfig(policy='a:b', checkpoint=str(tmp_path), chunk_length=3))
    assert np.array_equal(whole.infer(Observation((IMAGE,), 'pick up')).actions, actions)
    policy.reset()
    with pytest.raises(VlaError, match='nothing is left'):
        policy.infer(Observation((IMAGE,), 'pick up'))
    with pytest.raises(VlaError, match='vla_eval --suite --output'):
        make_replay(PolicyConfig(policy='a:b', checkpoint=str(tmp_path / 'none')))
