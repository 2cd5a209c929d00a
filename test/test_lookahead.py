# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Trajectories are accepted by controllers, continue without a jump and end at rest."""

from controller_rules import Points
from controller_rules import RELEASES
from controller_rules import TrajectoryController
import numpy as np
import pytest
from vla_ros.motion.lookahead import look_ahead
from vla_ros.motion.trajectory import BoundedTrajectory
from vla_ros.robot.limits import Limits

pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

LIMITS = Limits(('a', 'b'), np.array([-1.0, -2.0]), np.array([1.5, 0.5]), np.array([2.0, 1.0]),
                np.array([8.0, 3.0]), np.array([80.0, 60.0]))
LOOKAHEAD = 0.2
#: s from one update of the controller to the next.
UPDATE = 0.002


def trajectory():
    """Return a trajectory at rest."""
    return BoundedTrajectory(LIMITS, 2, np.zeros(2), 0.0)


def lookahead_points(plan, now):
    """Return the message that is sent at a time."""
    ahead, _ = look_ahead(plan, now, LOOKAHEAD)
    return Points(100.0 + now, ['a', 'b'], ahead.times,
                  list(zip(ahead.positions, ahead.velocities, ahead.accelerations)))


def drive(release, period, lead=0.0, latency=0.003, jitter=0.004):
    """Move to random targets; return the commands and rejections of the controller."""
    random = np.random.default_rng(7)
    plan = BoundedTrajectory(LIMITS, 2, np.zeros(2), lead)
    controller = TrajectoryController(['a', 'b'], release, np.zeros(2))
    commands, refusals, pending, following = [], [], [], 0.0
    for update in range(int(6.0 / UPDATE)):
        now = update * UPDATE
        if now >= following - 1e-9:
            tick = round(following / period)
            if tick % max(1, round(0.2 / period)) == 0:
                plan.set_target(random.uniform(LIMITS.lower, LIMITS.upper), now + lead, 0.3)
            pending.append((now + latency + random.uniform(0.0, jitter),
                            lookahead_points(plan, now + lead)))
            following += period
        while pending and pending[0][0] <= now:
            refusals.append(controller.take(pending.pop(0)[1], 100.0 + now))
        state = controller.update(100.0 + now)
        if state is not None:
            commands.append(state)
    return [np.array(rows) for rows in zip(*commands)], refusals


def assert_smooth(commands):
    """Check limits and jumps by divided differences of the commands of the hardware."""
    positions, velocities, accelerations = commands
    assert (positions >= LIMITS.lower - 1e-4).all() and (positions <= LIMITS.upper + 1e-4).all()
    speeds = np.diff(positions, axis=0) / UPDATE
    # A new plan has another jerk from its first moment on; the message takes up to 7 ms.
    assert (np.abs(speeds) <= 1.02 * LIMITS.velocity).all()
    steps = np.abs(np.diff(velocities, axis=0)).max(axis=0)
    assert (steps <= UPDATE * LIMITS.acceleration + LIMITS.jerk * 0.009 ** 2).all(), steps
    assert np.abs(velocities).max() > 0.5, 'nothing moved'


@pytest.mark.parametrize('release', ['humble', 'jazzy', 'lyrical'])
@pytest.mark.parametrize('period', [0.01, 0.05])
def test_controllers_that_replace_trajectories_continue_without_a_jump(release, period):
    """These controllers begin a new trajectory at the measured position."""
    commands, refusals = drive(release, period)
    assert refusals and not any(refusals)
    assert_smooth(commands)


@pytest.mark.parametrize('release', ['lyrical', 'rolling'])
def test_controllers_that_start_at_the_stamp_continue_without_a_jump(release):
    """The lead is half a period, which is longer than the latency of a message."""
    commands, refusals = drive(release, 0.04, lead=0.02)
    assert refusals and not any(refusals)
    assert_smooth(commands)


def test_lyricals_controller_does_not_move_with_a_lead_above_one_period():
    """It replaces a waiting trajectory by the next one; the node refuses such a lead."""
    commands, refusals = drive('lyrical', 0.01, lead=0.03)
    assert not any(refusals)
    first = int(1.0 / UPDATE)  # the first trajectory is executed, as no other replaces it
    assert not commands[1][first:].any()


def test_a_blending_controller_without_a_lead_deviates_by_the_jitter():
    """It begins each trajectory on arrival, without rejection and with steps of milliseconds."""
    commands, refusals = drive('rolling', 0.01)
    assert not any(refusals)
    steps = np.abs(np.diff(commands[0], axis=0))
    assert (steps <= LIMITS.velocity * (UPDATE + 0.007)).all()


def test_a_lookahead_follows_the_plan_and_then_brakes_at_the_limits():
    plan = trajectory()
    plan.set_target(np.array([1.5, -2.0]), 0.0, 5.0)
    ahead, braking = look_ahead(plan, 1.0, LOOKAHEAD)
    for time, row in zip(ahead.times, ahead.positions):
        if time <= LOOKAHEAD + 1e-9:
            np.testing.assert_allclose(row, plan.state(1.0 + time)[0], atol=1e-12)
    # Braking from full speed: v / a + a / j.
    longest = (LIMITS.velocity / LIMITS.acceleration + LIMITS.acceleration / LIMITS.jerk).max()
    assert LOOKAHEAD < ahead.times[-1] <= LOOKAHEAD + longest
    assert not ahead.velocities[-1].any() and not ahead.accelerations[-1].any()
    assert plan.end > 4.0, 'the plan itself was changed'
    assert not braking.is_moving(1.0 + ahead.times[-1])


def test_a_lookahead_at_rest_has_the_same_duration():
    """A single point with the present time would be in the past when it arrives."""
    ahead, _ = look_ahead(trajectory(), 3.0, LOOKAHEAD)
    assert ahead.times.tolist() == [0.0, LOOKAHEAD]
    assert not ahead.positions.any() and not ahead.velocities.any()


def test_interpolation_between_waypoints_equals_the_plan():
    plan = trajectory()
    plan.set_target(np.array([1.2, -1.0]), 0.0, 0.0)
    controller = TrajectoryController(['a', 'b'], 'jazzy', np.zeros(2))
    assert controller.take(lookahead_points(plan, 0.1), 100.1) == ''
    for time in np.arange(0.1, 0.1 + LOOKAHEAD, UPDATE):
        position, velocity, _ = controller.update(100.0 + time)
        np.testing.assert_allclose(position, plan.state(time)[0], atol=1e-5)
        np.testing.assert_allclose(velocity, plan.state(time)[1], atol=5e-3)


def test_the_controller_rules_reject_invalid_trajectories():
    """Earlier versions sent one moving point, and a gripper that the arm does not have."""
    moving = Points(0.0, ['a', 'b'], np.array([0.01]), [(np.zeros(2), np.ones(2), np.zeros(2))])
    both = Points(0.0, ['a', 'b', 'hand'], np.array([0.01]), [(np.zeros(3),) * 3])
    past = Points(1.0, ['a', 'b'], np.array([0.0]), [(np.zeros(2),) * 3])
    for release in RELEASES:
        controller = TrajectoryController(['a', 'b'], release, np.zeros(2))
        assert bool(controller.refusal(moving, 0.0)) == (release != 'humble')
        assert 'joints' in controller.refusal(both, 0.0)
        assert 'past' in controller.refusal(past, 1.5)
