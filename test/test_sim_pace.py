# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Simulated time: as fast as it should, never far ahead of an answer."""

import ctypes

import pytest

from vla_ros.sim.pace import Pace
from vla_ros.worlds import drawing
from vla_ros.worlds.drawing import drawing_variable

STEP = 0.01


class Run:
    """Simulated time under a pace, looked at each millisecond."""

    def __init__(self, speed, answer_within):
        self.pace = Pace(STEP, speed, answer_within)
        self.now = self.elapsed = 0.0
        self.pace.due(self.now, self.elapsed)

    def pass_time(self, seconds):
        for _ in range(round(seconds * 1000)):
            self.now += 0.001
            self.elapsed += STEP * self.pace.due(self.now, self.elapsed)


@pytest.mark.parametrize('speed', [0.5, 1.0, 8.0])
def test_time_follows_the_wall(speed):
    run = Run(speed, 0.0)
    run.pass_time(2.0)
    assert run.elapsed == pytest.approx(2.0 * speed, abs=2 * STEP)


def test_a_pause_is_made_up_for_in_part_only():
    run = Run(1.0, 0.0)
    run.now += 5.0
    assert run.pace.due(run.now, run.elapsed) == 10


def test_time_waits_for_an_answer_and_goes_on_with_it():
    run = Run(10.0, 0.15)
    run.pace.answer(0.0)
    run.pass_time(0.3)
    assert run.elapsed == pytest.approx(0.15)
    run.pace.answer(0.1)
    run.pass_time(0.1)
    assert run.elapsed == pytest.approx(0.25)


def test_an_answer_to_an_older_image_changes_nothing():
    run = Run(10.0, 0.15)
    run.pace.answer(0.1)
    run.pace.answer(0.0)
    run.pass_time(0.3)
    assert run.elapsed == pytest.approx(0.25)


def test_where_nobody_answers_time_passes_no_faster_than_real():
    run = Run(10.0, 0.15)
    run.pass_time(1.0)
    assert run.elapsed == pytest.approx(1.0, abs=2 * STEP)
    run.pace.answer(run.elapsed)
    run.pass_time(2.0)
    assert run.elapsed == pytest.approx(1.0 + 0.15 + 2.0 - 0.4, abs=0.1)


def test_what_draws_is_chosen_by_what_is_there(monkeypatch):
    assert drawing_variable({'DISPLAY': ':0'}) == drawing_variable({'MUJOCO_GL': 'glfw'}) == ''
    assert drawing_variable({}, 'darwin') == ''
    monkeypatch.setattr(drawing, 'egl_works', lambda: False)
    monkeypatch.setattr(drawing, '_load', lambda *names: ctypes.CDLL(None))
    assert drawing_variable({}, 'linux') == 'osmesa'
    monkeypatch.setattr(drawing, '_load', lambda *names: None)
    assert drawing_variable({}, 'linux') == 'disabled'
    assert 'sudo apt install libegl1' in str(drawing.cannot_draw('why'))
