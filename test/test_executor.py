# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Motion keeps every limit whatever comes, and takes the time that the dataset took."""

from dataclasses import replace
from functools import partial

import arms
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest
from vla_ros.data.datasets import DatasetDescription
from vla_ros.data.datasets import find_dataset
from vla_ros.data.datasets import Gripper
from vla_ros.errors import ParameterError
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.executor import TrajectoryExecutor
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.timing import action_duration
from vla_ros.motion.timing import Timing
from vla_ros.robot.description import GripperJoint
from vla_ros.robot.description import Robot
from vla_ros.robot.hold import Held
from vla_ros.robot.hold import Reason
from vla_ros.robot.limits import Limits
from vla_ros.safety.action_limits import ActionLimits
from vla_ros.safety.action_limits import ActionLimitSettings

pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

BRIDGE = find_dataset('bridge_orig')
HOME = np.array([0.0, 0.0, 0.0, 0.0, 1.5708, 0.0, 0.02])
TICK = 0.01

SMALL = Robot('', '', '', ('a', 'b'), np.zeros(2), (GripperJoint('hand', 0.04, 0.0),),
              Limits(('a', 'b', 'hand'), np.array([-1.0, -2.0, 0.0]), np.array([1.5, 0.5, 0.04]),
                     np.array([2.0, 1.0, 0.1]), np.array([8.0, 3.0, 1.0]),
                     np.array([80.0, 60.0, 20.0])))


def joint_space(space, period=0.2):
    """Describe actions of two joints and a gripper."""
    return DatasetDescription('own', period, space, grippers=(Gripper(2, 1.0, 0.0),))


def player(robot, dataset, timing=None, gate_settings=None, workspace=None):
    """Give what plays actions, its kinematics and its gates."""
    reader = ActionReader(dataset, robot, len(robot.names))
    kinematics = Kinematics(robot) if reader.is_cartesian else None
    gates = ActionLimits(gate_settings or ActionLimitSettings(), robot.limits, workspace,
                         len(robot.joints))
    timing = timing or Timing(action_duration(dataset))
    return TrajectoryExecutor(robot, reader, gates, timing, kinematics), kinematics, gates


def plan(executor, actions, now):
    """Lay actions out from now on."""
    return executor.plan(actions, executor.plan_start(now))


def assert_within_limits(times, positions, limits):
    """Check positions, float64 (K, N), and their divided differences of three orders."""
    assert (positions >= limits.lower).all() and (positions <= limits.upper).all()
    differences = positions
    # A divided difference of order n, times n!, is the mean of the n-th derivative.
    for order, bound in ((1, limits.velocity), (2, limits.acceleration), (3, limits.jerk)):
        spans = (times[order:] - times[:-order])[:, None]
        differences = order * np.diff(differences, axis=0) / spans
        assert (np.abs(differences) <= bound).all(), f'order {order}'


class Dice:
    """Takes choices out of one whole number: hypothesis spends its time by the draw."""

    def __init__(self, number):
        self._number = number

    def of(self, choices):
        """Take one of a list."""
        self._number, index = divmod(self._number, len(choices))
        return choices[index]


def one_step(number):
    """Give kind, actions (T, 3), ticks and seconds between them, from a whole number."""
    dice = Dice(number)
    kind = dice.of(['play'] * 6 + ['hold', 'hold', 'poison'])
    scale = dice.of([0.01, 0.1, 1.0, 1000.0])
    count, ticks = dice.of(range(1, 5)), dice.of(range(1, 13))
    spacing = dice.of([0.002, 0.01, 0.033])
    return kind, scale, count, ticks, spacing, np.random.default_rng(number)


steps_of = partial(st.lists, st.integers(0, 2**40), min_size=1)


@settings(max_examples=10_000, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(st.integers(0, 63), steps_of(max_size=3))
def test_no_output_ever_violates_a_limit(choices, steps):
    dice = Dice(choices)
    space, policy = dice.of(['joint_delta', 'joint_position']), dice.of(['clamp', 'hold'])
    period = dice.of([0.02, 0.2])
    timing = Timing(period, dice.of([0.0, 0.1]), dice.of([0.0, 0.4]),
                    dice.of(['drop', 'blend']))
    gate_settings = ActionLimitSettings(policy, policy, policy, policy, policy, jump=10.0)
    executor, _, _ = player(SMALL, joint_space(space, period), timing, gate_settings)
    random = np.random.default_rng(steps[0])
    executor.start(random.uniform(SMALL.limits.lower, SMALL.limits.upper), 0.0)
    now, times, positions = 0.0, [], []
    for kind, scale, count, ticks, spacing, random in map(one_step, steps):
        if kind == 'hold':
            executor.hold(now)
        else:
            actions = scale * random.normal(size=(count, 3))
            if kind == 'poison':
                actions[-1, -1] = np.nan
            try:
                executor.execute(plan(executor, actions, now))
            except Held:
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
def test_nor_does_an_end_effector_action(steps, frame):
    robot = arms.six_axis_arm()
    dataset = replace(BRIDGE, frame=frame)
    executor, kinematics, _ = player(robot, dataset, None, ActionLimitSettings(workspace='clamp'),
                                     robot.workspace)
    executor.start(HOME, 0.0)
    now, times, positions = 0.0, [], []
    for _, scale, count, ticks, spacing, random in map(one_step, steps):
        actions = 0.05 * min(scale, 1.0) * random.normal(size=(count, 7))
        try:
            executor.execute(plan(executor, actions, now))
        except Held:
            executor.hold(now)
        for _ in range(ticks):
            times.append(now)
            positions.append(executor.sample(now).positions)
            now += spacing
    assert_within_limits(np.array(times), np.array(positions), robot.limits)


def bridge_stream(count=60):
    """Give deltas such as Bridge has them, with still ones at the end, float64 (count + 5, 7)."""
    wave = np.sin(0.1 * np.arange(count)[:, None] + np.arange(7))
    noise = np.random.default_rng(3).normal(0.0, 0.0005, (count, 7))
    actions = np.array([0.0, 0.006, -0.003, 0.0, 0.0, 0.0, 0.0]) + noise
    actions += wave * np.array([0.006, 0.006, 0.006, 0.01, 0.01, 0.01, 0.0])
    actions = np.concatenate([actions, np.zeros((5, 7))])
    actions[:, 6] = 1.0
    return actions


def drive(rate, chunk=1, **timing):
    """Play the stream as it would be at a rate of inference; give times and tip positions."""
    stream = bridge_stream()
    executor, kinematics, gates = player(arms.six_axis_arm(), BRIDGE,
                                         Timing(action_duration(BRIDGE), **timing))
    executor.start(HOME, 0.0)
    tips, answers = [], 0
    for tick in range(int(len(stream) * BRIDGE.period_s / TICK)):
        now = tick * TICK
        if now >= answers / rate - 1e-9:
            index = int(now / BRIDGE.period_s + 1e-6)
            executor.execute(plan(executor, stream[index:index + chunk], now))
            answers += 1
        tips.append(kinematics.pose(executor.sample(now).positions[:6]).position)
    assert not gates.violations
    return np.array(tips)


def length(tips):
    """Give the length of a path."""
    return np.linalg.norm(np.diff(tips, axis=0), axis=1).sum()


@pytest.mark.parametrize(('rate', 'chunk', 'timing'), [
    # One delta an answer, and the one setting with which it does not matter how often it comes.
    *((rate, 1, {'repeat': 0.4}) for rate in (2, 5, 20, 100)),
    # Each answer with what is due until the next one.
    *((rate, 3, {}) for rate in (2, 5, 20, 100)),
    (2, 8, {}), (5, 8, {'remainder': 'blend'}), (20, 1, {}), (20, 8, {}), (100, 1, {})])
def test_the_rate_of_inference_changes_neither_distance_nor_time(rate, chunk, timing):
    usual, tips = drive(5), drive(rate, chunk, **timing)
    half = len(tips) // 2
    for part in (slice(None), slice(half), slice(half, None)):
        assert length(tips[part]) == pytest.approx(length(usual[part]), rel=0.02)
    way = np.linalg.norm(usual[-1] - usual[0])
    assert np.linalg.norm(tips[-1] - usual[-1]) <= 0.02 * way
    expected = bridge_stream()[:, :3].sum(axis=0)
    assert np.linalg.norm(usual[-1] - usual[0] - expected) < 1e-3


def test_answers_that_come_too_seldom_are_noticed_with_the_numbers():
    executor, _, _ = player(SMALL, joint_space('joint_delta'))
    executor.start(np.zeros(3), 0.0)
    for answer in range(5):
        assert executor.meter.coverage.coverage != pytest.approx(1.0)
        executor.execute(plan(executor, np.array([[0.01, 0.0, 1.0]]), 0.5 * answer))
    assert executor.meter.coverage.coverage == pytest.approx(0.4)
    for part in ('40% of the way', '0.2 s', '0.5 s', 'action.repeat to at least 0.4'):
        assert part in executor.meter.coverage.advice


@pytest.mark.parametrize(('space', 'repeat', 'interval'), [
    ('joint_delta', 0.4, 0.5), ('joint_delta', 0.0, 0.2), ('joint_delta', 0.0, 0.02),
    ('joint_position', 0.0, 0.5)])
def test_where_nothing_of_the_way_is_lost_nothing_is_said(space, repeat, interval):
    executor, _, _ = player(SMALL, joint_space(space), Timing(0.2, repeat=repeat))
    executor.start(np.zeros(3), 0.0)
    for answer in range(5):
        executor.execute(plan(executor, np.array([[0.01, 0.0, 1.0]]), interval * answer))
    assert not executor.meter.coverage.advice


def test_the_time_of_a_hold_is_not_the_time_between_answers():
    executor, _, _ = player(SMALL, joint_space('joint_delta'))
    executor.start(np.zeros(3), 0.0)
    for begin in (0.0, 60.0):
        for answer in range(3):
            executor.execute(plan(executor, np.array([[0.01, 0.0, 1.0]]), begin + 0.2 * answer))
        executor.hold(begin + 1.0)
    assert executor.meter.coverage.interval == pytest.approx(0.2)


def test_a_slow_model_without_repetition_stops_rather_than_guesses():
    assert length(drive(2)) == pytest.approx(0.4 * length(drive(5)), rel=0.1)


def test_a_steady_stream_does_not_stop_between_two_actions():
    timing = Timing(0.2, smoothing=0.2)
    executor, _, _ = player(SMALL, joint_space('joint_delta'), timing)
    executor.start(np.zeros(3), 0.0)
    speeds = []
    for tick in range(100):
        if tick % 20 == 0:
            executor.execute(plan(executor, np.array([[0.1, 0.0, 1.0]]), tick * TICK))
        speeds.append(executor.sample(tick * TICK).velocities[0])
    assert min(speeds[40:]) > 0.3 and max(speeds) < 0.7  # 0.5 rad/s is asked for


def test_the_speed_scale_is_what_it_says():
    def time_to_arrive(scale):
        executor, _, _ = player(SMALL, joint_space('joint_delta'), Timing(
            action_duration(joint_space('joint_delta'), scale)))
        executor.start(np.zeros(3), 0.0)
        executor.execute(plan(executor, np.full((10, 3), 0.005), 0.0))
        return next(tick for tick in range(1000) if executor.sample(tick * TICK).positions[0]
                    >= 0.05 - 1e-6) * TICK
    # Smoothing makes it a tenth of a second later in each case.
    for scale in (0.5, 1.0, 2.0):
        assert time_to_arrive(scale) == pytest.approx(2.0 / scale + 0.1, abs=0.03)


def test_a_rate_beyond_the_period_is_refused_with_the_numbers():
    with pytest.raises(ParameterError) as caught:
        action_duration(BRIDGE, rate=8.0)
    for number in ('8.0', '5 Hz', '0.2 s', '1.6'):
        assert number in str(caught.value)
    assert action_duration(BRIDGE, 1.6, rate=8.0) == pytest.approx(0.125)
    assert action_duration(BRIDGE, rate=5.0) == pytest.approx(0.2)
    assert action_duration(BRIDGE, rate=1.0) == 1.0
    for scale in (0.0, -1.0, 2.1, float('nan')):
        with pytest.raises(ParameterError):
            action_duration(BRIDGE, scale)


def test_a_held_arm_comes_to_rest_where_it_was_measured():
    executor, _, _ = player(SMALL, joint_space('joint_delta'))
    executor.start(np.zeros(3), 0.0)
    executor.execute(plan(executor, np.full((5, 3), 0.05), 0.0))
    for tick in range(30):
        moving = executor.sample(tick * TICK)
    executor.hold(0.3)
    measured = moving.positions - 0.03
    for tick in range(30, 200):
        last = executor.sample(tick * TICK, np.clip(measured, *limits_of(SMALL)))
    assert not last.is_moving
    assert np.allclose(last.positions, np.clip(measured, *limits_of(SMALL)))
    # It does not follow an arm that sags.
    assert np.array_equal(executor.sample(3.0, measured - 0.05).positions, last.positions)


def limits_of(robot):
    """Give the smallest and the largest positions."""
    return robot.limits.lower, robot.limits.upper


def test_after_a_hold_a_delta_starts_from_where_the_arm_rests():
    executor, _, _ = player(SMALL, joint_space('joint_delta'))
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
def test_a_action_limit_names_what_was_wrong_and_counts_it(space, action, reason):
    executor, _, gates = player(SMALL, joint_space(space), None,
                                ActionLimitSettings('hold', 'hold', 'hold', jump=0.5))
    executor.start(np.zeros(3), 0.0)
    with pytest.raises(Held) as caught:
        plan(executor, np.array([action]), 0.0)
    assert caught.value.reason is reason
    assert sum(gates.violations.values()) == 1
    assert not executor.sample(1.0).is_moving


def test_an_unreachable_pose_and_the_workspace_hold():
    robot = arms.six_axis_arm()
    executor, _, gates = player(robot, BRIDGE, None, ActionLimitSettings(), robot.workspace)
    executor.start(HOME, 0.0)
    with pytest.raises(Held, match='workspace'):
        plan(executor, np.array([[0.0, 0.0, -0.6, 0.0, 0.0, 0.0, 1.0]]), 0.0)
    with pytest.raises(Held) as caught:
        plan(executor, np.array([[0.44, 0.0, 0.6, 0.0, 0.0, 0.0, 1.0]]), 0.0)
    assert caught.value.reason is Reason.UNREACHABLE
    assert gates.violations == {'workspace': 1, 'unreachable': 1}


def test_an_arm_that_stays_behind_is_noticed():
    _, _, gates = player(SMALL, joint_space('joint_delta'))
    gates.following(np.array([0.4, 0.0, 0.04]), np.zeros(3))
    with pytest.raises(Held, match='a is 0.600 away'):
        gates.following(np.array([0.6, 0.0, 0.0]), np.zeros(3))
    with pytest.raises(Held):
        gates.following(np.array([np.nan, 0.0, 0.0]), np.zeros(3))


def test_a_weak_margin_holds():
    _, _, gates = player(SMALL, joint_space('joint_delta'), None, ActionLimitSettings(margin=0.5))
    gates.margins(np.array([0.6, 2.0], np.float32))
    gates.margins(np.array([], np.float32))
    for weak in (0.4, np.nan):
        with pytest.raises(Held, match='margin'):
            gates.margins(np.array([3.0, weak], np.float32))


def test_a_joint_measured_beyond_its_limits_is_not_moved():
    executor, _, _ = player(SMALL, joint_space('joint_delta'))
    with pytest.raises(Held, match='move it back by hand'):
        executor.start(np.array([1.6, 0.0, 0.0]), 0.0)
    executor.start(np.array([1.51, 0.0, 0.0]), 0.0)
    assert executor.sample(0.0).positions[0] == 1.5


@pytest.mark.parametrize('polarity', [Gripper(6, 1.0, 0.0), Gripper(6, -1.0, 1.0)])
def test_the_gripper_opens_by_the_polarity_of_its_dataset(polarity):
    dataset = replace(BRIDGE, grippers=(polarity,))
    executor, _, _ = player(arms.six_axis_arm(), dataset)
    for value, position in ((polarity.open, 0.04), (polarity.closed, 0.0)):
        executor.start(HOME, 0.0)
        action = np.zeros((1, 7))
        action[0, 6] = value
        executor.execute(plan(executor, np.repeat(action, 10, axis=0), 0.0))
        for tick in range(250):
            last = executor.sample(tick * TICK)
        assert last.positions[6] == pytest.approx(position, abs=1e-9)


def test_a_delta_in_the_frame_of_the_end_effector_follows_the_tool():
    dataset = replace(BRIDGE, frame='eef')
    executor, kinematics, _ = player(arms.six_axis_arm(), dataset)
    executor.start(HOME, 0.0)
    before = kinematics.pose(HOME[:6])
    executor.execute(plan(executor, np.array([[0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 1.0]]), 0.0))
    executor.sample(0.0)
    after = kinematics.pose(executor.sample(2.0).positions[:6])
    assert np.allclose(after.position - before.position, 0.02 * before.rotation[:, 2], atol=2e-4)


def test_an_absolute_pose_is_reached():
    dataset = replace(BRIDGE, space='eef_pose', rotation='axis_angle')
    executor, kinematics, _ = player(arms.six_axis_arm(), dataset)
    executor.start(HOME, 0.0)
    # The tool points down: half a turn about y.
    pose = np.array([[0.32, 0.05, 0.45, 0.0, np.pi, 0.0, 1.0]])
    executor.execute(plan(executor, pose, 0.0))
    executor.sample(0.0)
    assert np.allclose(kinematics.pose(executor.sample(3.0).positions[:6]).position, pose[0, :3],
                       atol=2e-4)


def test_what_does_not_fit_refuses_to_start():
    robot = arms.six_axis_arm()
    with pytest.raises(ParameterError, match='8'):
        ActionReader(BRIDGE, robot, 8)
    with pytest.raises(ParameterError, match='gripper'):
        ActionReader(BRIDGE, arms.ur5e(), 7)
    with pytest.raises(ParameterError, match='blend'):
        player(robot, replace(BRIDGE, space='eef_pose'), Timing(0.2, remainder='blend'))
    for wrong in ([1.0] * 6, [1.0] * 8, ['x'] * 7, [float('inf')] * 7, [99.0] * 7, [-1.0] * 7):
        with pytest.raises(ParameterError, match='velocity'):
            robot.limits.tightened(velocity=wrong)
