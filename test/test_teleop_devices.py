# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Devices of a teleoperator: axes, buttons, and release of the deadman."""

import math

import arms
import pytest
from vla_ros.errors import ParameterError
from vla_ros.teleop.gamepad import Gamepad
from vla_ros.teleop.gamepad import GamepadMap
from vla_ros.teleop.intent import Intent
from vla_ros.teleop.keyboard import Keyboard
from vla_ros.teleop.keyboard import MOVES
from vla_ros.teleop.leader import Leader

ROBOT = arms.six_axis_arm()
MAP = {'deadman': 4, 'gripper': 5, 'resume': 7, 'axes': (1.0, 0.0, 4.0, -1.0, -1.0, 3.0),
       'scales': (1.0, -1.0, 0.5, 1.0, 1.0, 1.0), 'dead_zone': 0.1, 'timeout': 0.2}
HELD, FREE = [0, 0, 0, 0, 1, 0, 0, 0], [0] * 8
REST = [0.0] * 8


def gamepad(**changes):
    return Gamepad(GamepadMap(**{**MAP, **changes}))


def test_a_key_moves_briefly_and_only_in_a_takeover():
    keyboard = Keyboard(3.0)
    keyboard.press('w', 0.0)
    assert keyboard.read(0.0) == Intent()
    keyboard.press('t', 1.0)
    assert keyboard.read(1.0) == Intent(True)
    keyboard.press('d', 1.1)
    keyboard.press('r', 1.1)
    assert keyboard.read(1.2).axes == (0.0, -1.0, 1.0, 0.0, 0.0, 0.0)
    assert keyboard.read(1.3) == Intent(True)
    keyboard.press('x', 1.4)
    assert not keyboard.read(1.4).is_held


def test_a_keyboard_without_keys_releases_the_deadman():
    keyboard = Keyboard(3.0)
    keyboard.press('t', 0.0)
    keyboard.press('w', 2.0)
    assert keyboard.read(4.9).is_held
    keyboard.press('?', 4.9)  # an unused key
    assert not keyboard.read(5.0).is_held
    keyboard.press('w', 5.1)
    assert not keyboard.read(5.1).is_held


def test_keys_toggle_the_gripper_and_resume_the_policy():
    keyboard = Keyboard(3.0)
    keyboard.press('t', 0.0)
    assert keyboard.read(0.0).opening is None
    for expected in (0.0, 1.0, 0.0):
        keyboard.press('g', 0.1)
        assert keyboard.read(0.1).opening == expected
    keyboard.press('c', 0.2)
    assert keyboard.read(0.2).resumes and not keyboard.read(0.3).resumes
    assert {axis for axis, _ in MOVES.values()} == set(range(6))


def test_a_gamepad_moves_while_its_deadman_is_held():
    pad = gamepad()
    pad.take([1.0, 0.55, 0, 0.05, -1.0, 0, 0, 0], HELD, 0.0)
    intent = pad.read(0.1)
    assert intent.is_held
    assert intent.axes == pytest.approx((0.5, -1.0, -0.5, 0.0, 0.0, 0.0))
    pad.take([1.0] * 8, FREE, 0.2)
    assert pad.read(0.2) == Intent()


@pytest.mark.parametrize('axes, buttons, age', [
    (REST, HELD, 0.3), (REST, [], 0.0), (REST, [0, 0, 0, 0, 2], 0.0),
    ([math.nan] * 8, HELD, 0.0), ([math.inf] * 8, HELD, 0.0)])
def test_a_silent_or_invalid_gamepad_releases_the_deadman(axes, buttons, age):
    pad = gamepad()
    pad.take(axes, buttons, 0.0)
    assert pad.read(age) == Intent()


def test_missing_axes_and_buttons_of_a_small_gamepad_count_as_released():
    pad = gamepad(gripper=-1, resume=60)
    pad.take([0.0, 1.0], HELD, 0.0)
    assert pad.read(0.0).axes == (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_a_button_acts_once_per_press():
    pad = gamepad()
    both, start = [0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]
    for buttons, expected in ((HELD, None), (both, 0.0), (both, 0.0), (HELD, 0.0), (both, 1.0)):
        pad.take(REST, buttons, 0.0)
        assert pad.read(0.0).opening == expected
    pad.take(REST, start, 0.0)
    assert pad.read(0.0).resumes
    pad.take(REST, start, 0.0)
    assert not pad.read(0.0).resumes


@pytest.mark.parametrize('changes, name', [
    ({'axes': (1.0, 0.0)}, 'joy.axes'), ({'axes': (0.5,) * 6}, 'joy.axes'),
    ({'scales': (2.0,) * 6}, 'joy.scales')])
def test_an_invalid_gamepad_map_is_refused(changes, name):
    with pytest.raises(ParameterError) as refused:
        gamepad(**changes)
    assert refused.value.name == name


def leader(**changes):
    pad = gamepad()
    values = {'names': [f'm{index}' for index in range(6)], 'signs': (math.nan,),
              'offsets': (math.nan,), 'timeout': 0.2, **changes}
    return Leader(ROBOT, deadman=pad, **values), pad


def test_a_leader_arm_is_mapped_to_the_joints_while_its_deadman_is_held():
    arm, pad = leader(signs=(1.0, -1.0) + (1.0,) * 4, offsets=(0.5,) + (0.0,) * 5)
    arm.take([f'm{index}' for index in range(6)], [0.1] * 6, 0.0)
    assert not arm.read(0.1).is_held
    pad.take([1.0] * 8, HELD, 0.1)
    intent = arm.read(0.1)
    assert intent.is_held and intent.axes == (0.0,) * 6
    assert dict(intent.joints) == pytest.approx(dict(zip(ROBOT.joints, (0.6, -0.1) + (0.1,) * 4)))


def test_a_leader_arm_without_fresh_or_complete_positions_releases_the_deadman():
    arm, pad = leader()
    pad.take(REST, HELD, 0.0)
    arm.take(['m0'], [0.1], 0.0)
    assert not arm.read(0.0).is_held
    arm.take([f'm{index}' for index in range(6)], [0.1] * 6, 0.0)
    assert arm.read(0.1).is_held
    pad.take(REST, HELD, 0.3)
    assert not arm.read(0.3).is_held


@pytest.mark.parametrize('changes, name', [
    ({'names': ['m0']}, 'leader.joints'), ({'signs': (1.0, 1.0)}, 'leader.signs'),
    ({'offsets': (math.inf,) * 6}, 'leader.offsets')])
def test_a_leader_arm_that_does_not_fit_is_refused(changes, name):
    with pytest.raises(ParameterError) as refused:
        leader(**changes)
    assert refused.value.name == name
