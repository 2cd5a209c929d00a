# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Start times of inferences, in simulated time."""

import threading

import pytest

from vla_ros.control.parameters import NodeConfig
from vla_ros.control.rate_limiter import RateLimiter
from vla_ros.control.rate_limiter import start_period
from vla_ros.control.worker import NewestSlot
from vla_ros.errors import ParameterError


class Time:
    """A clock that advances only in wait, which is that of a condition."""

    def __init__(self):
        self.now = 0.0
        self.events = []

    def __enter__(self):
        """Do nothing, as there is one thread."""

    def __exit__(self, *error):
        """Do nothing, as there is one thread."""

    def notify(self):
        """Do nothing, as no other thread waits."""

    def wait(self, timeout=None):
        """Advance to the next event or to the timeout, whichever is first."""
        end = float('inf') if timeout is None else self.now + timeout
        if self.events and self.events[0][0] <= end:
            self.now, happen = self.events.pop(0)
            happen()
        else:
            assert timeout is not None, 'no event would end the wait'
            self.now = end


def infer_frames(period, frames, durations):
    """
    Infer frames that arrive at these times, with inferences of these durations.

    :returns: the start of each inference, and its frame, named by its time.
    """
    time = Time()
    limiter = RateLimiter(period, lambda: time.now)
    slot = NewestSlot(limiter, time)
    time.events = [(at, lambda at=at: slot.put(at)) for at in frames]
    starts = []
    for duration in durations:
        frame = slot.take()
        limiter.start()
        starts.append((round(time.now, 9), frame))
        end = time.now + duration
        while time.events and time.events[0][0] <= end:
            time.events.pop(0)[1]()
        time.now = end
    return starts


def camera(rate, seconds):
    return [number / rate for number in range(int(rate * seconds))]


def test_with_newest_an_inference_starts_when_the_policy_is_free():
    # 10 Hz, 0.25 s each: at 0.25 s the frame of 0.2 s waits.
    assert infer_frames(0.0, camera(10, 2), [0.25] * 4) == [
        (0.0, 0.0), (0.25, 0.2), (0.5, 0.5), (0.75, 0.7)]


def test_with_newest_a_free_policy_starts_when_a_frame_arrives():
    assert infer_frames(0.0, camera(10, 2), [0.01] * 3) == [(0.0, 0.0), (0.1, 0.1), (0.2, 0.2)]


def test_with_period_inferences_start_one_period_apart_on_the_newest_frame():
    # A camera of 30 Hz and an action each 0.2 s: of six frames the last is inferred.
    starts = infer_frames(0.2, [0.01 + at for at in camera(30, 2)], [0.02] * 5)
    assert [start for start, _ in starts] == pytest.approx([0.01, 0.21, 0.41, 0.61, 0.81])
    for start, frame in starts:
        assert -1e-9 <= start - frame < 1 / 30 + 1e-9


def test_with_period_a_late_frame_shifts_the_following_starts():
    assert infer_frames(0.2, [0.0, 0.1, 0.35, 0.38, 0.6], [0.01] * 4) == [
        (0.0, 0.0), (0.2, 0.1), (0.4, 0.38), (0.6, 0.6)]
    assert infer_frames(0.2, [0.0, 0.5, 0.6], [0.01] * 3) == [(0.0, 0.0), (0.5, 0.5), (0.7, 0.6)]


def test_after_an_inference_longer_than_a_period_the_next_starts_at_once():
    starts = infer_frames(0.2, camera(20, 3), [0.5, 0.5, 0.01, 0.01])
    assert [start for start, _ in starts] == [0.0, 0.5, 1.0, 1.2]


def test_delays_of_wake_ups_do_not_accumulate():
    now = [0.0]
    limiter = RateLimiter(0.2, lambda: now[0])
    for number in range(100):
        assert limiter.wait() == pytest.approx(0.0, abs=1e-9)
        limiter.start()
        assert limiter.wait() > 0.0
        now[0] = (number + 1) * 0.2 + 0.003


def test_a_slot_can_be_closed_while_it_waits_for_the_period():
    limiter = RateLimiter(3600.0)
    limiter.start()
    slot, taken = NewestSlot(limiter), []
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    slot.put(1)
    thread.start()
    slot.close()
    thread.join(20)
    assert taken == [None]


@pytest.mark.parametrize('config, period', [
    ({}, 0.0),
    ({'inference_start': 'period'}, 0.2),
    ({'inference_start': 'period', 'speed_scale': 0.5}, 0.4),
    ({'inference_start': 'period', 'action_rate': 2.0}, 0.5),
    ({'inference_start': 'period', 'action_period': 0.1}, 0.1)])
def test_the_period_is_that_of_an_action(config, period):
    assert start_period(NodeConfig(**config), 'bridge_orig') == pytest.approx(period)


def test_an_unknown_period_is_refused():
    with pytest.raises(ParameterError, match='action.period nor a description of my_data'):
        start_period(NodeConfig(inference_start='period'), 'my_data')
    config = NodeConfig(inference_start='period', action_period=0.05)
    assert start_period(config, 'my_data') == 0.05
