# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Checks for frozen images and for jumps of the clock."""

import numpy as np
import pytest
from vla_ros.errors import ParameterError
from vla_ros.safety.frames import ClockCheck
from vla_ros.safety.frames import FrozenImage

IMAGES = np.random.default_rng(0).integers(0, 255, (9, 48, 64, 3), np.uint8)
AT_REST = np.zeros(6)


def test_changing_images_are_not_frozen():
    frozen = FrozenImage(0.5, 0.5)
    for index in range(9):
        assert not frozen.check(index + 1, IMAGES[index], float(index), AT_REST + index)


def test_a_repeated_stamp_is_frozen_after_a_time():
    frozen = FrozenImage(0.5, 0.0)
    assert not frozen.check(7, IMAGES[0], 0.0)
    assert not frozen.check(7, IMAGES[1], 0.5)
    assert 'stamp' in frozen.check(7, IMAGES[2], 0.6)
    assert not frozen.check(8, IMAGES[3], 0.7)


def test_images_without_stamps_are_not_checked_by_stamp():
    frozen = FrozenImage(0.5, 0.0)
    assert not any(frozen.check(0, IMAGES[index], float(index)) for index in range(9))


def test_repeated_pixels_are_frozen_once_the_arm_has_moved():
    frozen = FrozenImage(0.0, 0.0)
    for index in range(5):  # an arm at rest, a camera without noise
        assert not frozen.check(index + 1, IMAGES[0], float(index), AT_REST)
    assert 'although the arm has moved' in frozen.check(6, IMAGES[0], 5.0, AT_REST + 0.1)
    assert not frozen.check(7, IMAGES[1], 6.0, AT_REST + 0.1)


def test_repeated_pixels_are_frozen_after_a_time_if_configured():
    frozen = FrozenImage(0.0, 0.5)
    assert not frozen.check(1, IMAGES[0], 0.0)
    assert 'same pixels' in frozen.check(2, IMAGES[0], 0.6)
    with pytest.raises(ParameterError, match='image.frozen_pixels'):
        FrozenImage(0.0, float('nan'))


def test_the_text_of_a_hold_does_not_change_while_it_lasts():
    for frozen in (FrozenImage(0.5, 0.0), FrozenImage(0.0, 0.5)):
        texts = {frozen.check(1, IMAGES[0], 0.3 * index) for index in range(9)} - {''}
        assert len(texts) == 1, texts


def test_a_steady_clock_does_not_jump():
    clock = ClockCheck()
    assert not any(clock.check(100.0 + 0.01 * tick, 0.01 * tick, False) for tick in range(500))


@pytest.mark.parametrize(('step', 'simulated', 'expected'), [
    (-0.5, False, 'went back by 0.5'), (-0.5, True, 'went back by 0.5'),
    (5.0, False, 'jumped by'), (5.0, True, 'jumped by 5.0')])
def test_a_jump_of_the_clock_is_reported_once(step, simulated, expected):
    clock = ClockCheck()
    clock.check(100.0, 0.0, simulated)
    assert expected in clock.check(100.0 + step, 0.01, simulated)
    assert not clock.check(100.01 + step, 0.02, simulated)


def test_slow_fast_or_paused_simulated_time_does_not_jump():
    clock = ClockCheck()
    for ros, steady in ((0.0, 1.0), (50.0, 2.0), (50.5, 2.1), (50.5, 60.0), (50.6, 90.0)):
        assert not clock.check(ros, steady, True)


def test_a_suspended_process_does_not_count_as_a_jump_of_the_clock():
    clock = ClockCheck()
    clock.check(100.0, 0.0, False)
    assert not clock.check(130.0, 30.0, False)
