# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Plans at the edge of what is allowed: whatever is asked for, none leads beyond it."""

import arms
import numpy as np
import pytest
from vla_ros.motion.trajectory import BoundedTrajectory

pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

LIMITS = arms.six_axis_arm().limits
TICK = 0.01


def wander(seed):
    """Rush from limit to limit, change one's mind and brake; give positions, float64 (K, N)."""
    random = np.random.default_rng(seed)
    trajectory = BoundedTrajectory(LIMITS, 6, random.uniform(LIMITS.lower, LIMITS.upper), 0.0)
    now, positions = 0.0, []
    for _ in range(8):
        if random.random() < 0.3:
            trajectory.brake(now)
        else:
            to_upper = random.random(len(LIMITS.names)) < 0.5
            edge = np.where(to_upper, LIMITS.upper, LIMITS.lower)
            near = np.clip(trajectory.state(now)[0] + random.normal(0.0, 0.2, len(edge)),
                           LIMITS.lower, LIMITS.upper)
            trajectory.head_for(edge if random.random() < 0.6 else near, now,
                                random.choice([0.0, 0.02, 0.2, 0.5, 2.0]))
        for _ in range(random.integers(1, 60)):
            positions.append(trajectory.state(now)[0])
            now += TICK
    return np.array(positions)


def test_no_sequence_of_actions_exceeds_a_limit():
    for seed in range(300):
        positions = wander(seed)
        assert (positions >= LIMITS.lower).all() and (positions <= LIMITS.upper).all()
        for bound in (LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk):
            positions = np.diff(positions, axis=0) / TICK
            assert (np.abs(positions) <= bound).all(), f'seed {seed}'


def test_a_plan_arrives_at_its_planned_time():
    start = np.zeros(7)
    trajectory = BoundedTrajectory(LIMITS, 6, start, 0.0)
    trajectory.head_for(start + 0.03, 0.0, 2.0)
    assert trajectory.is_moving(1.99)
    assert not trajectory.is_moving(2.01)
    assert trajectory.state(2.01)[0] == pytest.approx(start + 0.03)


def test_joints_that_have_arrived_stay_however_often_they_are_sent_there():
    """Rounding leaves 1e-12 rad to go, for which ruckig plans a way to and fro."""
    for seed in range(5):
        target = np.random.default_rng(seed).uniform(0.0, 0.04, len(LIMITS.names))
        trajectory = BoundedTrajectory(LIMITS, 6, np.zeros(len(target)), 0.0)
        deviations = []
        for tick in range(600):
            now = tick * TICK
            if tick % 2 == 0:
                trajectory.head_for(target, now, 0.2)
            deviations.append(np.abs(trajectory.state(now)[0] - target).max())
        assert max(deviations[300:]) < 1e-6, f'seed {seed}'


def test_braking_ends_at_rest_soon():
    trajectory = BoundedTrajectory(LIMITS, 6, np.zeros(7), 0.0)
    trajectory.head_for(np.full(7, 0.04), 0.0, 0.0)
    trajectory.brake(0.1)
    speeds = np.abs(trajectory.state(0.1)[1])
    # From a speed v, jerk j and an acceleration that is at first the wrong way.
    slowest = 4.0 * np.sqrt(speeds.max() / LIMITS.jerk.min()) + 0.2
    assert not trajectory.is_moving(0.1 + slowest)
    position, velocity, acceleration = trajectory.state(0.1 + slowest)
    assert not velocity.any() and not acceleration.any()
    assert (position < 0.04).any()


def test_a_plan_that_leads_beyond_a_limit_is_not_adopted():
    trajectory = BoundedTrajectory(LIMITS, 6, np.zeros(7), 0.0)
    trajectory.head_for(LIMITS.upper, 0.0, 0.0)
    before = trajectory.destination
    trajectory.head_for(LIMITS.upper + 0.1, 0.2, 0.0)
    assert np.array_equal(trajectory.destination, before)
    assert (trajectory.state(9.0)[0] <= LIMITS.upper).all()
