# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Simulated time follows its factor and never runs far ahead of the results."""

import ctypes

import pytest

from vla_ros.sim.real_time_factor import RealTimeFactor
from vla_ros.worlds import drawing
from vla_ros.worlds.drawing import drawing_variable

STEP = 0.01


class Run:
    """Simulated time, advanced each millisecond."""

    def __init__(self, speed, result_within):
        self.factor = RealTimeFactor(STEP, speed, result_within)
        self.now = self.elapsed = 0.0
        self.factor.due(self.now, self.elapsed)

    def advance_time(self, seconds):
        for _ in range(round(seconds * 1000)):
            self.now += 0.001
            self.elapsed += STEP * self.factor.due(self.now, self.elapsed)


@pytest.mark.parametrize('speed', [0.5, 1.0, 8.0])
def test_simulated_time_follows_the_factor(speed):
    run = Run(speed, 0.0)
    run.advance_time(2.0)
    assert run.elapsed == pytest.approx(2.0 * speed, abs=2 * STEP)


def test_after_a_pause_simulated_time_catches_up_only_in_part():
    run = Run(1.0, 0.0)
    run.now += 5.0
    assert run.factor.due(run.now, run.elapsed) == 10


def test_simulated_time_waits_for_a_result():
    run = Run(10.0, 0.15)
    run.factor.result(0.0)
    run.advance_time(0.3)
    assert run.elapsed == pytest.approx(0.15)
    run.factor.result(0.1)
    run.advance_time(0.1)
    assert run.elapsed == pytest.approx(0.25)


def test_a_result_of_an_older_image_is_ignored():
    run = Run(10.0, 0.15)
    run.factor.result(0.1)
    run.factor.result(0.0)
    run.advance_time(0.3)
    assert run.elapsed == pytest.approx(0.25)


def test_without_results_simulated_time_is_at_most_real_time():
    run = Run(10.0, 0.15)
    run.advance_time(1.0)
    assert run.elapsed == pytest.approx(1.0, abs=2 * STEP)
    run.factor.result(run.elapsed)
    run.advance_time(2.0)
    assert run.elapsed == pytest.approx(1.0 + 0.15 + 2.0 - 0.4, abs=0.1)


def test_the_first_available_renderer_is_chosen(monkeypatch):
    assert drawing_variable({'DISPLAY': ':0'}) == drawing_variable({'MUJOCO_GL': 'glfw'}) == ''
    assert drawing_variable({}, 'darwin') == ''
    monkeypatch.setattr(drawing, 'egl_works', lambda: False)
    monkeypatch.setattr(drawing, '_load', lambda *names: ctypes.CDLL(None))
    assert drawing_variable({}, 'linux') == 'osmesa'
    monkeypatch.setattr(drawing, '_load', lambda *names: None)
    assert drawing_variable({}, 'linux') == 'disabled'
    assert 'sudo apt install libegl1' in str(drawing.cannot_draw('why'))
