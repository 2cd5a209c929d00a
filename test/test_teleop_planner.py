# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A teleoperator's commands move an arm within every limit, and invalid ones are refused."""

from dataclasses import replace
import math

import arms
from executor_harness import BRIDGE
from executor_harness import HOME
from executor_harness import make_executor
from executor_harness import plan
from executor_harness import TICK
import numpy as np
import pytest
from test_executor import assert_within_limits
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.teleop import JointTarget
from vla_ros.motion.teleop import TeleopPlanner
from vla_ros.motion.teleop import TipVelocity
from vla_ros.motion.timing import action_duration
from vla_ros.motion.timing import Timing
from vla_ros.robot.description import Workspace
from vla_ros.robot.hold import Hold

pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
ROBOT = arms.six_axis_arm()
JOINTS = ROBOT.joints
HAND = ROBOT.names[-1]
STILL = (0.0, 0.0, 0.0)


def teleoperated(workspace=ROBOT.workspace, remainder='drop'):
    """Return an executor at rest, and a teleoperator's planner for the same arm."""
    timing = Timing(action_duration(BRIDGE), remainder=remainder)
    executor, _, limits = make_executor(ROBOT, BRIDGE, timing, workspace=workspace)
    executor.start(HOME, 0.0)
    return executor, TeleopPlanner(ROBOT, limits, 0.1, 0.3, Kinematics(ROBOT)), limits


def joints_of(positions):
    return JointTarget(JOINTS, tuple(float(value) for value in positions[:6]))


def run(executor, planner, command_at, start, end, every=2):
    """Send a command every ``every`` ticks; return times and commanded positions."""
    times, positions = [], []
    for tick in range(round(start / TICK), round(end / TICK)):
        now = tick * TICK
        command = command_at(now) if tick % every == 0 else None
        if command is not None:
            executor.execute(planner.plan(command, executor.plan_start(now)))
        times.append(now)
        positions.append(executor.sample(now).positions)
    return np.array(times), np.array(positions)


def test_the_arm_follows_a_leader_arm():
    executor, planner, _ = teleoperated()

    def leader(now):
        return joints_of(HOME[:6] + 0.2 * math.sin(now))

    times, positions = run(executor, planner, leader, 0.0, 4.0)
    expected = HOME[:6] + 0.2 * np.sin(times)[:, None]
    assert np.abs(positions[:, :6] - expected).max() < 0.08
    assert_within_limits(times, positions, ROBOT.limits)


@pytest.mark.parametrize('frame', ['base', 'tip'])
def test_a_twist_moves_the_tip_at_its_velocity_in_its_frame(frame):
    executor, planner, _ = teleoperated(workspace=None)
    kinematics = Kinematics(ROBOT)
    before = kinematics.pose(HOME[:6])
    name = ROBOT.base_frame if frame == 'base' else ROBOT.tip_frame
    times, positions = run(executor, planner,
                           lambda now: TipVelocity((0.0, 0.04, 0.0), STILL, name), 0.0, 1.0)
    last, = [executor.sample(now).positions for now in (3.0,)]
    axis = np.array([0.0, 1.0, 0.0]) if frame == 'base' else before.rotation[:, 1]
    after = kinematics.pose(last[:6])
    # A second of motion, and the rest of the last command, which lasts for 0.1 s.
    np.testing.assert_allclose(after.position - before.position, 0.0432 * axis, atol=5e-4)
    np.testing.assert_allclose(after.rotation, before.rotation, atol=2e-3)
    assert_within_limits(times, positions, ROBOT.limits)


def test_an_angular_velocity_turns_about_an_axis_of_its_frame():
    kinematics = Kinematics(ROBOT)
    before = kinematics.pose(HOME[:6])
    for name, axis in ((ROBOT.base_frame, np.array([0.0, 0.0, 1.0])),
                       (ROBOT.tip_frame, before.rotation[:, 2])):
        executor, planner, _ = teleoperated(workspace=None)
        run(executor, planner, lambda now, name=name: TipVelocity(STILL, (0.0, 0.0, 0.2), name),
            0.0, 1.0)
        after = kinematics.pose(executor.sample(3.0).positions[:6])
        rotation = after.rotation @ before.rotation.T
        skew = (rotation - rotation.T)[[2, 0, 1], [1, 2, 0]]
        np.testing.assert_allclose(skew / 2, math.sin(0.216) * axis, atol=4e-3)
        np.testing.assert_allclose(after.position, before.position, atol=1e-3)


def test_random_commands_and_changes_of_control_stay_within_every_limit():
    rng = np.random.default_rng(7)
    for remainder in ('drop', 'blend'):
        executor, planner, _ = teleoperated(remainder=remainder)
        times, positions, now = [], [], 0.0
        for _ in range(300):
            try:
                kind = rng.integers(0, 6)
                if kind <= 1:
                    command = joints_of(executor.sample(now).positions[:6]
                                        + rng.uniform(-0.4, 0.4, 6))
                    executor.execute(planner.plan(command, executor.plan_start(now)))
                elif kind == 2:
                    frame = str(rng.choice([ROBOT.base_frame, ROBOT.tip_frame]))
                    command = TipVelocity(tuple(rng.uniform(-0.5, 0.5, 3)),
                                          tuple(rng.uniform(-2, 2, 3)), frame)
                    executor.execute(planner.plan(command, executor.plan_start(now)))
                elif kind == 3:
                    action = np.array([[*rng.uniform(-0.03, 0.03, 6), rng.integers(0, 2)]])
                    executor.execute(plan(executor, action, now))
                elif kind == 4:
                    executor.hold(now)
                    planner.restart()
                else:
                    command = JointTarget((HAND,), (float(rng.uniform(0.0, 0.04)),))
                    executor.execute(planner.plan(command, executor.plan_start(now)))
            except Hold:
                executor.hold(now)
            for _ in range(int(rng.integers(1, 12))):
                now += TICK
                times.append(now)
                positions.append(executor.sample(now).positions)
        assert_within_limits(np.array(times), np.array(positions), ROBOT.limits)
        assert np.ptp(np.array(positions), axis=0).max() > 0.1


def test_joints_stop_at_their_limits():
    executor, planner, _ = teleoperated(workspace=None)
    upper = ROBOT.limits.upper[5]

    def past_limit(now):
        return joints_of([*executor.sample(now).positions[:5],
                          executor.sample(now).positions[5] + 0.2])

    _, positions = run(executor, planner, past_limit, 0.0, 4.0)
    assert positions[:, 5].max() <= upper
    assert positions[-1, 5] == pytest.approx(upper, abs=1e-6)


@pytest.mark.parametrize('command, reason', [
    (JointTarget(JOINTS, (math.nan,) + (0.0,) * 5), 'not finite'),
    (JointTarget(JOINTS, (0.0,) * 5), '6 names and 5 positions'),
    (JointTarget(JOINTS[:5], (0.0,) * 5), 'joint_6 is missing'),
    (JointTarget((*JOINTS[:5], 'elbow'), (0.0,) * 6), 'elbow is no joint of the robot, which has'),
    (JointTarget((), ()), '0 names'),
    (JointTarget((JOINTS[0], JOINTS[0]), (0.0, 0.0)), 'each joint has one name'),
    (joints_of(HOME + 0.4), 'away from the arm, teleop.max_distance is 0.3: bring it nearer'),
    (TipVelocity((0.0, math.inf, 0.0), STILL, ROBOT.base_frame), 'not finite'),
    (TipVelocity(STILL, STILL, ''), "a twist in the frame ''"),
    (TipVelocity(STILL, STILL, 'camera'), 'it must be base_link'),
    (TipVelocity((0.0, 0.0, 50.0), STILL, ROBOT.base_frame), 'the workspace is')])
def test_an_invalid_command_is_refused_in_one_line(command, reason):
    executor, planner, _ = teleoperated()
    with pytest.raises(Hold) as refused:
        planner.plan(command, executor.plan_start(0.0))
    assert reason in str(refused.value) and '\n' not in str(refused.value)


@pytest.mark.parametrize('policy', ['clamp', 'hold'])
def test_joints_do_not_take_the_tip_out_of_the_workspace(policy):
    pose = Kinematics(ROBOT).pose(HOME[:6])
    box = Workspace(pose.position - 0.02, pose.position + 0.02)
    executor, planner, limits = teleoperated(box)
    limits.settings = replace(limits.settings, workspace=policy)
    with pytest.raises(Hold, match='workspace'):
        run(executor, planner, lambda now: joints_of(
            [executor.sample(now).positions[0] + 0.2, *HOME[1:6]]), 0.0, 2.0)
    assert limits.violations['workspace'] == 1
    tip = Kinematics(ROBOT).pose(executor.sample(5.0).positions[:6]).position
    assert (np.abs(tip - pose.position) <= 0.02 + 1e-9).all()


def test_a_gripper_command_lasts_during_a_twist():
    executor, planner, _ = teleoperated(workspace=None)

    def alternate(now):
        if round(now / TICK) % 4:
            return JointTarget((HAND,), (0.0,))
        return TipVelocity((0.0, 0.04, 0.0), STILL, ROBOT.base_frame)

    before = Kinematics(ROBOT).pose(HOME[:6]).position
    run(executor, planner, alternate, 0.0, 1.0)
    last = executor.sample(3.0).positions
    assert last[6] == pytest.approx(0.0, abs=1e-6)
    after = Kinematics(ROBOT).pose(last[:6]).position
    assert after[1] - before[1] == pytest.approx(0.044, abs=2e-3)
    # It does not extend a velocity that has ended.
    moved = planner.plan(JointTarget((HAND,), (0.02,)), executor.plan_start(3.0))
    np.testing.assert_allclose(moved.waypoints[-1].joints[:6], last[:6], atol=1e-6)


def test_the_policy_continues_from_the_position_of_the_takeover():
    """There is no pause in between, and remainders are blended."""
    executor, planner, _ = teleoperated(remainder='blend')
    times, positions = run(executor, planner, lambda now: joints_of(HOME + 0.2), 0.0, 1.05)
    coverage = executor.meter.coverage
    executor.execute(plan(executor, np.zeros((1, 7)), 1.05))
    assert executor.meter.coverage == coverage
    later = [executor.sample(now).positions for now in np.arange(1.05, 2.0, TICK)]
    assert_within_limits(np.concatenate([times, np.arange(1.05, 2.0, TICK)]),
                         np.concatenate([positions, later]), ROBOT.limits)
    np.testing.assert_allclose(later[-1][:6], HOME[:6] + 0.2, atol=5e-3)
