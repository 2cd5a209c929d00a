# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A chunk is aligned to the time of its observation: past actions are skipped."""

from dataclasses import replace

import arms
from executor_harness import BRIDGE
from executor_harness import HOME
from executor_harness import joint_space
from executor_harness import make_executor
from executor_harness import plan
from executor_harness import SMALL
from executor_harness import TICK
import numpy as np
import pytest
from vla_ros.control.motion_setup import build_arm
from vla_ros.control.parameters import NodeConfig
from vla_ros.motion.chunk_alignment import shift
from vla_ros.motion.chunk_alignment import split_past
from vla_ros.motion.execution_times import ExecutionTimes
from vla_ros.motion.timing import Timing
from vla_ros.policy.base import PolicySpec

pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

#: Seconds of an action, and the time constant with which the policy approaches its goal.
PERIOD, CONSTANT = 0.1, 2.0
CHUNK = 8


def approach(space, remainder, latency, seconds=3.0):
    """
    Let a policy that observes the arm approach a goal in chunks.

    :returns: the remaining distance at each tick, float64 (K,), from 1 at the start.
    """
    is_eef = space.startswith('eef')
    dataset = (replace(BRIDGE, space=space, period_s=PERIOD, rotation='axis_angle') if is_eef else
               joint_space(space, PERIOD))
    robot, start = (arms.six_axis_arm(), HOME) if is_eef else (SMALL, np.zeros(3))
    executor, kinematics, limits = make_executor(robot, dataset,
                                                 Timing(PERIOD, remainder=remainder))
    executor.start(start, 0.0)
    first = kinematics.pose(start[:6]) if is_eef else None

    def progress_of(now):
        waypoint = executor.plan_start(now).waypoint
        if not is_eef:
            return waypoint.joints[0]
        return kinematics.pose(waypoint.joints[:6]).position[1] - first.position[1]

    goal = 0.2 if is_eef else 1.0
    remaining, due, chunk, observed = [], 0.0, None, 0.0
    for tick in range(round(seconds / TICK)):
        now = tick * TICK
        if now >= due - 1e-9:
            if chunk is not None:
                executor.execute(executor.plan(chunk, executor.plan_start(now, observed)))
            # One inference at a time: the next one sees the arm as it is now.
            decay = np.exp(-np.arange(CHUNK + 1) * PERIOD / CONSTANT)
            distances = goal + (progress_of(now) - goal) * decay
            chunk, observed, due = actions_of(space, distances, first), now, now + latency
        executor.sample(now)
        remaining.append(1.0 - progress_of(now) / goal)
    assert remainder == 'drop' or limits.violations.keys() <= {'gripper'}
    return np.array(remaining)


def actions_of(space, distances, first):
    """Return the chunk for distances, float64 (CHUNK + 1,), of a joint or the tip."""
    actions = np.zeros((CHUNK, 7 if space.startswith('eef') else 3))
    if space == 'eef_pose':
        from vla_ros.motion import rotations
        actions[:, :3], actions[:, 3:6] = first.position, rotations.vector(first.rotation)
        actions[:, 1] += distances[1:]
    else:
        column = 1 if space == 'eef_delta' else 0
        actions[:, column] = np.diff(distances) if space.endswith('delta') else distances[1:]
    return actions


@pytest.mark.parametrize(('space', 'remainder'), [
    ('joint_delta', 'align'), ('joint_position', 'align'), ('eef_delta', 'align'),
    ('eef_pose', 'align'), ('joint_delta', 'align_blend'), ('joint_position', 'align_blend'),
    ('eef_delta', 'align_blend')])
@pytest.mark.parametrize('latency', [0.05, 0.2, 0.33])
def test_an_aligned_chunk_moves_as_if_without_latency(space, remainder, latency):
    remaining = approach(space, remainder, latency)
    times = np.arange(len(remaining)) * TICK
    # The first chunk finds the arm at rest, and all of it is still to be done.
    expected = np.exp(-np.maximum(times - latency, 0.0) / CONSTANT)
    np.testing.assert_allclose(remaining, expected, atol=0.012)


@pytest.mark.parametrize('space', ['joint_delta', 'joint_position'])
def test_a_chunk_that_is_not_aligned_executes_past_actions(space):
    remaining = approach(space, 'drop', 0.4)
    expected = np.exp(-np.maximum(np.arange(len(remaining)) * TICK - 0.4, 0.0) / CONSTANT)
    # Deltas that were executed are executed again, which is too far; positions lead back.
    if space == 'joint_delta':
        assert (remaining - expected).min() < -0.05
    else:
        assert np.diff(remaining).max() > 0.001


def test_alignment_skips_only_time_in_motion_and_keeps_deltas_until_the_next_result():
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'),
                                   Timing(0.2, remainder='align'))
    executor.start(np.zeros(3), 0.0)
    actions = np.array([[0.01, 0.0, 1.0], [0.02, 0.0, 1.0], [0.04, 0.0, 1.0]])

    def arrive(now, observed):
        executor.execute(executor.plan(actions, executor.plan_start(now, observed)))
        rest = executor.plan_start(now + 5.0).waypoint.joints[0]
        return rest - executor.plan_start(now).waypoint.joints[0]

    assert arrive(1.0, 0.0) == pytest.approx(0.07)
    # Of the second since the image the arm has moved for 0.3 s: one action and a half.
    assert arrive(1.3, 0.3) == pytest.approx(0.05)
    assert arrive(1.4, 1.4) == pytest.approx(0.07)
    # Half a second is past, but what is left has to last for as long again.
    assert arrive(1.9, 1.4) == pytest.approx(0.065)
    assert arrive(9.0, 1.9) == pytest.approx(0.07)  # slower than a chunk is long
    executor.hold(9.1)
    assert arrive(9.2, 8.0) == pytest.approx(0.07)


def test_an_aligned_chunk_begins_at_the_position_of_the_arm():
    executor, _, _ = make_executor(SMALL, joint_space('joint_position'),
                                   Timing(0.2, remainder='align'))
    executor.start(np.zeros(3), 0.0)
    executor.execute(plan(executor, np.linspace(0.0, 0.4, 9)[1:, None] * [1.0, 0.0, 0.0], 0.0))
    before = [executor.sample(tick * TICK).positions for tick in range(45)]
    # This chunk has other positions, and most of its first action is past.
    chunk = np.linspace(0.2, 0.6, 9)[1:, None] * [1.0, 0.0, 0.0]
    executor.execute(executor.plan(chunk, executor.plan_start(0.44, 0.1)))
    path = np.array([*before, *(executor.sample(tick * TICK).positions
                                for tick in range(45, 300))])
    steps = np.diff(path[:, 0])
    assert steps.min() > -1e-9 and steps.max() <= SMALL.limits.velocity[0] * TICK
    assert np.abs(np.diff(steps)).max() <= SMALL.limits.acceleration[0] * TICK**2 * 1.001
    assert path[-1, 0] == pytest.approx(0.6)


def test_blending_reduces_the_change_of_speed_between_diverging_chunks():
    def change(remainder):
        executor, _, _ = make_executor(SMALL, joint_space('joint_position'),
                                       Timing(0.2, remainder=remainder))
        executor.start(np.zeros(3), 0.0)
        chunk = np.linspace(0.0, 0.4, 9)[1:, None] * [1.0, 0.0, 0.0]
        executor.execute(plan(executor, chunk, 0.0))
        speeds = executor.plan_start(0.44).speeds
        executor.execute(executor.plan(chunk + [0.08, 0.0, 0.0], executor.plan_start(0.44, 0.0)))
        return executor.plan_start(0.45).speeds[0] - speeds[0]

    assert 0.0 < change('align_blend') < 0.5 * change('align')


def test_a_single_action_is_neither_aligned_nor_blended():
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'),
                                   Timing(0.2, remainder='align_blend'))
    executor.start(np.zeros(3), 0.0)
    for now, delta in ((0.0, 0.01), (0.1, 0.02)):
        executor.execute(executor.plan(np.array([[delta, 0.0, 1.0]]),
                                       executor.plan_start(now, now - 0.1)))
    assert executor.plan_start(1.0).waypoint.joints[0] == pytest.approx(0.025)


def test_a_gripper_is_not_blended():
    executor, _, _ = make_executor(SMALL, joint_space('joint_position'),
                                   Timing(0.2, remainder='align_blend'))
    executor.start(np.zeros(3), 0.0)
    executor.execute(plan(executor, np.zeros((8, 3)), 0.0))
    trajectory = executor.plan(np.ones((8, 3)) * [0.0, 0.0, 1.0], executor.plan_start(0.3, 0.0))
    assert trajectory.actions[:, 2].tolist() == [1.0] * len(trajectory.actions)


@pytest.mark.parametrize(('space', 'remainder'), [
    ('eef_delta', 'align_blend'), ('joint_position', 'align_blend'), ('eef_pose', 'align')])
def test_by_default_chunks_are_aligned_and_blended_except_poses(space, remainder):
    spec = PolicySpec('-', 'own', (8, 7), 1, 0, 'cpu', 'float32', 'sdpa', '', 'none')
    arm = build_arm(NodeConfig(
        checkpoint='-', robot_file='six_axis_arm', action_space=space, action_frame='base',
        action_rotation='axis_angle', action_period=0.1,
        action_gripper=(6.0, 1.0, 0.0)), spec, str)
    assert arm._executor._timing.remainder == remainder


@pytest.mark.parametrize('count', [1, 4])
def test_alignment_does_not_reduce_coverage(count):
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'),
                                   Timing(0.2, remainder='align'))
    executor.start(np.zeros(3), 0.0)
    interval = 0.15 * count
    for step in range(1, 40):
        executor.execute(executor.plan(np.full((count, 3), 0.001), executor.plan_start(
            interval * step, interval * (step - 1))))
    assert executor.meter.coverage.coverage == pytest.approx(1.0)


def test_the_last_position_of_a_late_chunk_is_executed():
    executor, _, _ = make_executor(SMALL, joint_space('joint_position'),
                                   Timing(0.2, remainder='align'))
    executor.start(np.zeros(3), 0.0)
    for now, position in ((0.0, 0.1), (1.0, 0.2)):
        executor.execute(executor.plan(position * np.array([[0.5, 0.0, 1.0], [1.0, 0.0, 1.0]]),
                                       executor.plan_start(now, now - 1.0)))
    assert executor.plan_start(3.0).waypoint.joints[0] == pytest.approx(0.2)


def test_execution_times_leave_out_rest():
    times = ExecutionTimes()
    for number in range(100):
        times.add(0.1 * number, 0.1 * (number + 1))
    times.add(12.0, 13.0)
    times.add(14.0, 14.0)
    assert times.seconds(0.0, 20.0) == pytest.approx(11.0)
    assert times.seconds(9.5, 12.25) == pytest.approx(0.75)
    times.clear()
    assert times.seconds(0.0, 20.0) == 0.0


def test_past_actions_are_split_off_and_the_rest_is_shifted():
    assert split_past(0.25, 0.1, 8) == (2, pytest.approx(0.05))
    assert split_past(0.195, 0.1, 8) == (2, 0.0)
    assert split_past(0.3, 0.1, 8) == (3, 0.0)
    assert split_past(5.0, 0.1, 8) == (7, 0.0)
    rows = np.array([[0.0], [1.0], [2.0], [4.0]])
    np.testing.assert_allclose(shift(rows, 0.0), rows[1:])
    np.testing.assert_allclose(shift(rows, -0.25), [[0.75], [1.75], [3.5]])
    np.testing.assert_allclose(shift(rows, 0.5), [[1.5], [3.0], [4.0]])
