# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A rate is measured from recent events."""

import pytest
from vla_ros.util.rate_meter import RateMeter


def test_the_rate_falls_when_the_events_stop():
    meter = RateMeter(window=10.0)
    assert meter.rate(0.0) == 0.0
    for tick in range(20):
        meter.tick(0.1 * tick)
    assert meter.rate(1.9) == pytest.approx(10.0)
    assert meter.rate(2.0) == pytest.approx(10.0)
    assert 4 < meter.rate(4.0) < 5
    assert meter.rate(20.0) == 0.0


def test_a_changed_rate_is_measured_within_fifty_events():
    meter = RateMeter(window=10.0)
    for tick in range(5):
        meter.tick(float(tick))
    for tick in range(60):
        meter.tick(4.0 + 0.01 * tick)
    assert meter.rate(4.6) == pytest.approx(100.0, rel=0.05)
