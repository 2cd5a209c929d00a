# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Motion takes the time that the dataset took, at any inference rate."""

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
from vla_ros.errors import ParameterError
from vla_ros.motion.timing import action_duration
from vla_ros.motion.timing import Timing

pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')


def bridge_stream(count=60):
    """Return deltas of the size of Bridge's, then 5 of zero; float64 (count + 5, 7)."""
    wave = np.sin(0.1 * np.arange(count)[:, None] + np.arange(7))
    noise = np.random.default_rng(3).normal(0.0, 0.0005, (count, 7))
    actions = np.array([0.0, 0.006, -0.003, 0.0, 0.0, 0.0, 0.0]) + noise
    actions += wave * np.array([0.006, 0.006, 0.006, 0.01, 0.01, 0.01, 0.0])
    actions = np.concatenate([actions, np.zeros((5, 7))])
    actions[:, 6] = 1.0
    return actions


def drive(rate, chunk=1, **timing):
    """Execute the stream at an inference rate, in Hz; return the tip's positions, (ticks, 3)."""
    stream = bridge_stream()
    executor, kinematics, limits = make_executor(arms.six_axis_arm(), BRIDGE,
                                                 Timing(action_duration(BRIDGE), **timing))
    executor.start(HOME, 0.0)
    tips, count = [], 0
    for tick in range(int(len(stream) * BRIDGE.period_s / TICK)):
        now = tick * TICK
        if now >= count / rate - 1e-9:
            index = int(now / BRIDGE.period_s + 1e-6)
            executor.execute(plan(executor, stream[index:index + chunk], now))
            count += 1
        tips.append(kinematics.pose(executor.sample(now).positions[:6]).position)
    assert not limits.violations
    return np.array(tips)


def length(tips):
    """Return the length of a path."""
    return np.linalg.norm(np.diff(tips, axis=0), axis=1).sum()


@pytest.mark.parametrize(('rate', 'chunk', 'timing'), [
    # One delta an inference: repetition makes the path independent of the rate.
    *((rate, 1, {'repeat': 0.4}) for rate in (2, 5, 20, 100)),
    # Each chunk covers the time until the next one.
    *((rate, 3, {}) for rate in (2, 5, 20, 100)),
    (2, 8, {}), (5, 8, {'remainder': 'blend'}), (20, 1, {}), (20, 8, {}), (100, 1, {})])
def test_inference_rate_changes_neither_path_length_nor_duration(rate, chunk, timing):
    reference, tips = drive(5), drive(rate, chunk, **timing)
    half = len(tips) // 2
    for part in (slice(None), slice(half), slice(half, None)):
        assert length(tips[part]) == pytest.approx(length(reference[part]), rel=0.02)
    distance = np.linalg.norm(reference[-1] - reference[0])
    assert np.linalg.norm(tips[-1] - reference[-1]) <= 0.02 * distance
    expected = bridge_stream()[:, :3].sum(axis=0)
    assert np.linalg.norm(reference[-1] - reference[0] - expected) < 1e-3


def test_low_coverage_gives_advice_with_its_numbers():
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'))
    executor.start(np.zeros(3), 0.0)
    for step in range(5):
        assert executor.meter.coverage.coverage != pytest.approx(1.0)
        executor.execute(plan(executor, np.array([[0.01, 0.0, 1.0]]), 0.5 * step))
    assert executor.meter.coverage.coverage == pytest.approx(0.4)
    for part in ('40% of the way', '0.2 s', '0.5 s', 'action.repeat to at least 0.4'):
        assert part in executor.meter.coverage.advice


@pytest.mark.parametrize(('space', 'repeat', 'interval'), [
    ('joint_delta', 0.4, 0.5), ('joint_delta', 0.0, 0.2), ('joint_delta', 0.0, 0.02),
    ('joint_position', 0.0, 0.5)])
def test_full_coverage_gives_no_advice(space, repeat, interval):
    executor, _, _ = make_executor(SMALL, joint_space(space), Timing(0.2, repeat=repeat))
    executor.start(np.zeros(3), 0.0)
    for step in range(5):
        executor.execute(plan(executor, np.array([[0.01, 0.0, 1.0]]), interval * step))
    assert not executor.meter.coverage.advice


def test_a_hold_does_not_count_as_an_inference_interval():
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'))
    executor.start(np.zeros(3), 0.0)
    for begin in (0.0, 60.0):
        for step in range(3):
            executor.execute(plan(executor, np.array([[0.01, 0.0, 1.0]]), begin + 0.2 * step))
        executor.hold(begin + 1.0)
    assert executor.meter.coverage.interval == pytest.approx(0.2)


def test_a_slow_model_without_repetition_stops_between_actions():
    assert length(drive(2)) == pytest.approx(0.4 * length(drive(5)), rel=0.1)


def test_a_steady_stream_does_not_stop_between_actions():
    timing = Timing(0.2, smoothing=0.2)
    executor, _, _ = make_executor(SMALL, joint_space('joint_delta'), timing)
    executor.start(np.zeros(3), 0.0)
    speeds = []
    for tick in range(100):
        if tick % 20 == 0:
            executor.execute(plan(executor, np.array([[0.1, 0.0, 1.0]]), tick * TICK))
        speeds.append(executor.sample(tick * TICK).velocities[0])
    assert min(speeds[40:]) > 0.3 and max(speeds) < 0.7  # 0.5 rad/s is asked for


def test_speed_scale_divides_the_duration_of_a_motion():
    def time_to_arrive(scale):
        executor, _, _ = make_executor(SMALL, joint_space('joint_delta'), Timing(
            action_duration(joint_space('joint_delta'), scale)))
        executor.start(np.zeros(3), 0.0)
        executor.execute(plan(executor, np.full((10, 3), 0.005), 0.0))
        return next(tick for tick in range(1000) if executor.sample(tick * TICK).positions[0]
                    >= 0.05 - 1e-6) * TICK
    # Smoothing adds a tenth of a second in each case.
    for scale in (0.5, 1.0, 2.0):
        assert time_to_arrive(scale) == pytest.approx(2.0 / scale + 0.1, abs=0.03)


def test_a_rate_above_the_dataset_rate_is_refused_with_the_numbers():
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
