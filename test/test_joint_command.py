# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Actions become joint commands in a declared action space."""

import math

import numpy as np
import pytest

from vla_ros.control.joint_command import JointMapper
from vla_ros.errors import CommandError
from vla_ros.errors import ParameterError


def test_raw_actions_are_named_by_their_dimensions():
    """Seven dimensions have names of a pose and a gripper; others are numbered."""
    seven = JointMapper('raw', (), 7).command(np.arange(7.0), {})
    assert seven.names == ('x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper')
    assert seven.positions == (0, 1, 2, 3, 4, 5, 6)
    assert JointMapper('raw', (), 2).command(np.zeros(2), {}).names == ('dim_0', 'dim_1')


def test_joint_position_is_the_action_under_the_joint_names():
    command = JointMapper('joint_position', ('a', 'b'), 2).command(np.array([1.5, -2.0]), {})
    assert (command.names, command.positions) == (('a', 'b'), (1.5, -2.0))


def test_joint_delta_is_added_to_the_measured_positions_by_name():
    mapper = JointMapper('joint_delta', ('a', 'b'), 2)
    command = mapper.command(np.array([0.5, 0.25]), {'b': 2.0, 'gripper': 9.0, 'a': 1.0})
    assert command.positions == (1.5, 2.25)


@pytest.mark.parametrize('measured, reason', [
    ({}, 'no measured position of a, b'), ({'a': 1.0}, 'no measured position of b:'),
    ({'a': 1.0, 'b': math.nan}, 'not finite')])
def test_joint_delta_without_a_measured_position_is_refused(measured, reason):
    with pytest.raises(CommandError, match=reason):
        JointMapper('joint_delta', ('a', 'b'), 2).command(np.zeros(2), measured)


@pytest.mark.parametrize('space, names, reason', [
    ('joint_position', (), r'action.joint_names: got \[\], it must be 2 names'),
    ('joint_delta', ('a',), r"action.joint_names: got \['a'\], it must be 2 names"),
    ('joint_position', ('a', 'a'), 'without repetition'),
    ('raw', ('a', 'b'), 'empty where action.space is raw'),
    ('eef', (), "action.space: got 'eef', it must be one of raw, joint_position, joint_delta")])
def test_joint_names_that_do_not_fit_the_action_space_are_refused(space, names, reason):
    with pytest.raises(ParameterError, match=reason):
        JointMapper(space, names, 2)


@pytest.mark.parametrize('action', [[1.0, math.nan], [math.inf, 1.0], [1.0], [1.0, 2.0, 3.0]])
def test_an_action_that_is_not_finite_or_of_another_size_is_refused(action):
    with pytest.raises(CommandError):
        JointMapper('raw', (), 2).command(np.array(action), {})
