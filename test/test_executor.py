# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The executor keeps every limit for any actions, and holds with a reason."""

from dataclasses import replace
from functools import partial

import arms
from executor_harness import BRIDGE
from executor_harness import HOME
from executor_harness import joint_space
from executor_harness import make_executor
from executor_harness import plan
from executor_harness import SMALL
from executor_harness import TICK
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest
from vla_ros.data.datasets import Gripper
from vla_ros.errors import ParameterError
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.timing import Timing
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety.action_limits import ActionLimitSettings

pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')


def assert_within_limits(times, positions, limits):
    """Check positions, float64 (K, N), and their divided differences of three orders."""
    assert (positions >= limits.lower).all() and (positions <= limits.upper).all()
    differences = positions
    # A divided difference of order n, times n!, is the mean of the n-th derivative.
    for order, bound in ((1, limits.velocity), (2, limits.acceleration), (3, limits.jerk)):
        spans = (times[order:] - times[:-order])[:, None]
        differences = order * np.diff(differences, axis=0) / spans
        assert (np.abs(differences) <= bound).all(), f'order {order}'


class Choices:
    """Choices drawn from one whole number, since each draw of hypothesis costs time."""

    def __init__(self, number):
        self._number = number

    def of(self, choices):
        """Take one of a list."""
        self._number, index = divmod(self._number, len(choices))
        return choices[index]


def draw_step(number):
    """Return kind, actions (T, 3), ticks and seconds between them, from a whole number."""
    drawn = Choices(number)
    kind = drawn.of(['execute'] * 6 + ['hold', 'hold', 'nan'])
    scale = drawn.of([0.01, 0.1, 1.0, 1000.0])
    count, ticks = drawn.of(range(1, 5)), drawn.of(range(1, 13))
    spacing = drawn.of([0.002, 0.01, 0.033])
    return kind, scale, count, ticks, spacing, np.random.default_rng(number)


steps_of = partial(st.lists, st.integers(0, 2**40), min_size=1)


@settings(max_examples=10_000, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(st.integers(0, 63), steps_of(max_size=3))
def test_no_output_violates_a_joint_limit(choices, steps):
    drawn = Choices(choices)
    space, policy = drawn.of(['joint_delta', 'joint_position']), drawn.of(['clamp', 'hold'])
    period = drawn.of([0.02, 0.2])
    timing = Timing(period, drawn.of([0.0, 0.1]), drawn.of([0.0, 0.4]),
                    drawn.of(['drop', 'blend', 'align', 'align_blend']))
    limit_settings = ActionLimitSettings(policy, policy, policy, policy, policy, jump=10.0)
    executor, _, _ = make_executor(SMALL, joint_space(space, period), timing, limit_settings)
    random = np.random.default_rng(steps[0])
    executor.start(random.uniform(SMALL.limits.lower, SMALL.limits.upper), 0.0)
    now, times, positions = 0.0, [], []
    for kind, scale, count, ticks, spacing, random in map(draw_step, steps):
        if kind == 'hold':
            executor.hold(now)
        else:
            actions = scale * random.normal(size=(count, 3))
            if kind == 'nan':
                actions[-1, -1] = np.nan
            try:
                start = executor.plan_start(now, now - 0.01 * random.integers(80))
                executor.execute(executor.plan(actions, start))
            except Hold:
                executor.hold(now)
        measured = positions[-1] + 0.1 if positions else None
        for _ in range(ticks):
            times.append(now)
            positions.append(executor.sample(now, measured).positions)
            now += spacing
    assert_within_limits(np.array(times), np.array(positions), SMALL.limits)


@settings(max_examples=100, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(steps_of(max_size=4), st.sampled_from(['base', 'eef']))
def test_no_end_effector_action_violates_a_joint_limit(steps, frame):
    robot = arms.six_axis_arm()
    dataset = replace(BRIDGE, frame=frame)
    executor, kinematics, _ = make_executor(
        robot, dataset, None, ActionLimitSettings(workspace='clamp'), robot.workspace)
    executor.start(HOME, 0.0)
    now, times, positions = 0.0, [], []
    for _, scale, count, ticks, spacing, random in map(draw_step, steps):
        actions = 0.05 * min(scale, 1.0) * random.normal(size=(count, 7))
        try:
            executor.execute(plan(executor, actions, now))
        except Hold:
            executor.hold(now)
        for _ in range(ticks):
            times.append(now)
            positions.append(executor.sample(now).positions)
            now += spacing
    assert_within_limits(np.array(times), np.array(positions), robot.limits)


def test_a_held_arm_comes_to_rest_at_its_measured_position_and_does_not_follow_it():
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'))
    executor.start(np.zeros(3), 0.0)
    executor.execute(plan(executor, np.full((5, 3), 0.05), 0.0))
    for tick in range(30):
        moving = executor.sample(tick * TICK)
    executor.hold(0.3)
    measured = moving.positions - 0.03
    rest = np.clip(measured, SMALL.limits.lower, SMALL.limits.upper)
    for tick in range(30, 200):
        last = executor.sample(tick * TICK, rest)
    assert not last.is_moving
    assert np.allclose(last.positions, rest)
    # It does not follow an arm that sags.
    assert np.array_equal(executor.sample(3.0, measured - 0.05).positions, last.positions)


def test_after_a_hold_a_delta_starts_from_the_rest_position():
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'))
    executor.start(np.zeros(3), 0.0)
    executor.execute(plan(executor, np.full((5, 3), 0.05), 0.0))
    executor.sample(0.2)
    executor.hold(0.2)
    rest = executor.sample(1.0).positions
    executor.execute(plan(executor, np.array([[0.05, 0.0, 0.0]]), 1.0))
    executor.sample(1.0)
    assert executor.sample(3.0).positions[0] == pytest.approx(rest[0] + 0.05)


@pytest.mark.parametrize(('space', 'action', 'reason'), [
    ('joint_position', [9.0, 0.0, 0.0], Reason.JUMP),
    ('joint_delta', [0.0, 0.45, 0.0], Reason.LIMIT),
    ('joint_delta', [np.nan, 0.0, 0.0], Reason.NOT_FINITE),
    ('joint_delta', [0.0, np.inf, 0.0], Reason.NOT_FINITE)])
def test_an_action_beyond_a_limit_holds_with_a_reason_and_is_counted(space, action, reason):
    executor, _, limits = make_executor(
        SMALL, joint_space(space), None, ActionLimitSettings('hold', 'hold', 'hold', jump=0.5))
    executor.start(np.zeros(3), 0.0)
    with pytest.raises(Hold) as caught:
        plan(executor, np.array([action]), 0.0)
    assert caught.value.reason is reason
    assert sum(limits.violations.values()) == 1
    assert not executor.sample(1.0).is_moving


def test_an_unreachable_pose_and_a_pose_outside_the_workspace_hold():
    robot = arms.six_axis_arm()
    executor, _, limits = make_executor(robot, BRIDGE, None, ActionLimitSettings(),
                                        robot.workspace)
    executor.start(HOME, 0.0)
    with pytest.raises(Hold, match='workspace'):
        plan(executor, np.array([[0.0, 0.0, -0.6, 0.0, 0.0, 0.0, 1.0]]), 0.0)
    with pytest.raises(Hold) as caught:
        plan(executor, np.array([[0.44, 0.0, 0.6, 0.0, 0.0, 0.0, 1.0]]), 0.0)
    assert caught.value.reason is Reason.UNREACHABLE
    assert limits.violations == {'workspace': 1, 'unreachable': 1}


def test_the_next_delta_starts_from_a_clamped_unreachable_pose():
    robot = arms.six_axis_arm()
    settings = ActionLimitSettings(unreachable='clamp', jump=100.0)
    executor, kinematics, limits = make_executor(robot, BRIDGE, None, settings)
    executor.start(HOME, 0.0)
    outwards, back = [0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [-0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    trajectory = plan(executor, np.array([outwards] * 40 + [back]), 0.0)
    assert limits.violations['unreachable'] > 10
    for waypoint in trajectory.waypoints:
        there = kinematics.pose(waypoint.joints[:6])
        np.testing.assert_allclose(waypoint.pose.position, there.position, atol=2e-4)
        assert (waypoint.joints[:6] >= robot.limits.lower[:6]).all()
        assert (waypoint.joints[:6] <= robot.limits.upper[:6]).all()
    furthest, last = (waypoint.pose.position[0] for waypoint in trajectory.waypoints[-2:])
    assert furthest - last > 0.005, 'it comes back at once, not after forty deltas'


def test_a_tracking_error_beyond_its_limit_holds():
    _, _, limits = make_executor(SMALL, joint_space('joint_delta'))
    limits.following(np.array([0.4, 0.0, 0.04]), np.zeros(3))
    with pytest.raises(Hold, match='a is 0.600 away'):
        limits.following(np.array([0.6, 0.0, 0.0]), np.zeros(3))
    with pytest.raises(Hold):
        limits.following(np.array([np.nan, 0.0, 0.0]), np.zeros(3))


def test_a_small_token_margin_holds():
    _, _, limits = make_executor(SMALL, joint_space('joint_delta'), None,
                                 ActionLimitSettings(margin=0.5))
    limits.margins(np.array([0.6, 2.0], np.float32))
    limits.margins(np.array([], np.float32))
    for weak in (0.4, np.nan):
        with pytest.raises(Hold, match='margin'):
            limits.margins(np.array([3.0, weak], np.float32))


def test_a_joint_measured_beyond_its_limits_is_an_error():
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'))
    with pytest.raises(Hold, match='move it back by hand'):
        executor.start(np.array([1.6, 0.0, 0.0]), 0.0)
    executor.start(np.array([1.51, 0.0, 0.0]), 0.0)
    assert executor.sample(0.0).positions[0] == 1.5


@pytest.mark.parametrize('polarity', [Gripper(6, 1.0, 0.0), Gripper(6, -1.0, 1.0)])
def test_the_gripper_opens_by_the_polarity_of_its_dataset(polarity):
    dataset = replace(BRIDGE, grippers=(polarity,))
    executor, _, _ = make_executor(arms.six_axis_arm(), dataset)
    for value, position in ((polarity.open, 0.04), (polarity.closed, 0.0)):
        executor.start(HOME, 0.0)
        action = np.zeros((1, 7))
        action[0, 6] = value
        executor.execute(plan(executor, np.repeat(action, 10, axis=0), 0.0))
        for tick in range(250):
            last = executor.sample(tick * TICK)
        assert last.positions[6] == pytest.approx(position, abs=1e-9)


def test_a_delta_in_the_end_effector_frame_follows_the_tool():
    dataset = replace(BRIDGE, frame='eef')
    executor, kinematics, _ = make_executor(arms.six_axis_arm(), dataset)
    executor.start(HOME, 0.0)
    before = kinematics.pose(HOME[:6])
    executor.execute(plan(executor, np.array([[0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 1.0]]), 0.0))
    executor.sample(0.0)
    after = kinematics.pose(executor.sample(2.0).positions[:6])
    assert np.allclose(after.position - before.position, 0.02 * before.rotation[:, 2], atol=2e-4)


def test_an_absolute_pose_of_the_end_effector_is_reached():
    dataset = replace(BRIDGE, space='eef_pose', rotation='axis_angle')
    executor, kinematics, _ = make_executor(arms.six_axis_arm(), dataset)
    executor.start(HOME, 0.0)
    # The tool points down: half a turn about y.
    pose = np.array([[0.32, 0.05, 0.45, 0.0, np.pi, 0.0, 1.0]])
    executor.execute(plan(executor, pose, 0.0))
    executor.sample(0.0)
    assert np.allclose(kinematics.pose(executor.sample(3.0).positions[:6]).position, pose[0, :3],
                       atol=2e-4)


def test_a_mismatch_of_dataset_and_robot_is_refused():
    robot = arms.six_axis_arm()
    with pytest.raises(ParameterError, match='8'):
        ActionReader(BRIDGE, robot, 8)
    with pytest.raises(ParameterError, match='gripper'):
        ActionReader(BRIDGE, arms.ur5e(), 7)
    with pytest.raises(ParameterError, match='blend'):
        make_executor(robot, replace(BRIDGE, space='eef_pose'), Timing(0.2, remainder='blend'))
    for limits in ([1.0] * 6, [1.0] * 8, ['x'] * 7, [float('inf')] * 7, [99.0] * 7, [-1.0] * 7):
        with pytest.raises(ParameterError, match='velocity'):
            robot.limits.tightened(velocity=limits)
