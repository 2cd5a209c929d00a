# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Trajectories stay within the limits for targets at and beyond them."""

import arms
import numpy as np
import pytest
from vla_ros.motion.trajectory import BoundedTrajectory

pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

LIMITS = arms.six_axis_arm().limits
TICK = 0.01


def random_positions(seed):
    """Move between limits, change the target and brake; return positions, float64 (K, N)."""
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
            trajectory.set_target(edge if random.random() < 0.6 else near, now,
                                  random.choice([0.0, 0.02, 0.2, 0.5, 2.0]))
        for _ in range(random.integers(1, 60)):
            positions.append(trajectory.state(now)[0])
            now += TICK
    return np.array(positions)


def test_random_targets_and_braking_stay_within_every_limit():
    for seed in range(300):
        positions = random_positions(seed)
        assert (positions >= LIMITS.lower).all() and (positions <= LIMITS.upper).all()
        for bound in (LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk):
            positions = np.diff(positions, axis=0) / TICK
            assert (np.abs(positions) <= bound).all(), f'seed {seed}'


def test_a_plan_arrives_at_its_planned_time():
    start = np.zeros(7)
    trajectory = BoundedTrajectory(LIMITS, 6, start, 0.0)
    trajectory.set_target(start + 0.03, 0.0, 2.0)
    assert trajectory.is_moving(1.99)
    assert not trajectory.is_moving(2.01)
    assert trajectory.state(2.01)[0] == pytest.approx(start + 0.03)


def test_joints_at_their_target_do_not_move_when_it_is_repeated():
    """Rounding leaves a distance of 1e-12 rad, for which ruckig plans a motion back and forth."""
    for seed in range(5):
        target = np.random.default_rng(seed).uniform(0.0, 0.04, len(LIMITS.names))
        trajectory = BoundedTrajectory(LIMITS, 6, np.zeros(len(target)), 0.0)
        deviations = []
        for tick in range(600):
            now = tick * TICK
            if tick % 2 == 0:
                trajectory.set_target(target, now, 0.2)
            deviations.append(np.abs(trajectory.state(now)[0] - target).max())
        assert max(deviations[300:]) < 1e-6, f'seed {seed}'


def test_braking_comes_to_rest_within_the_time_of_the_limits():
    trajectory = BoundedTrajectory(LIMITS, 6, np.zeros(7), 0.0)
    trajectory.set_target(np.full(7, 0.04), 0.0, 0.0)
    trajectory.brake(0.1)
    speeds = np.abs(trajectory.state(0.1)[1])
    # From a speed v with jerk j, and an acceleration that has the wrong sign at first.
    slowest = 4.0 * np.sqrt(speeds.max() / LIMITS.jerk.min()) + 0.2
    assert not trajectory.is_moving(0.1 + slowest)
    position, velocity, acceleration = trajectory.state(0.1 + slowest)
    assert not velocity.any() and not acceleration.any()
    assert (position < 0.04).any()


def test_a_target_beyond_a_limit_leaves_the_plan_unchanged():
    trajectory = BoundedTrajectory(LIMITS, 6, np.zeros(7), 0.0)
    trajectory.set_target(LIMITS.upper, 0.0, 0.0)
    before = trajectory.destination
    trajectory.set_target(LIMITS.upper + 0.1, 0.2, 0.0)
    assert np.array_equal(trajectory.destination, before)
    assert (trajectory.state(9.0)[0] <= LIMITS.upper).all()
