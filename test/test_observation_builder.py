# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Inputs of an observation beside the main image, and errors of missing ones."""

from dataclasses import replace
import math

import numpy as np
import pytest

from vla_ros.control.adapter_choice import AdapterChoice
from vla_ros.control.observation_builder import ObservationBuilder
from vla_ros.control.parameters import NodeConfig
from vla_ros.errors import MissingInput
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import PolicySpec

SPEC = PolicySpec('fake', 'my_arm', (8, 7), 1, 0, 'cpu', 'float32', 'sdpa', 'best here', 'none')
IMAGE = np.zeros((2, 2, 3), np.uint8)


def make_builder(spec, **config):
    """Return a configured builder, checked against a policy."""
    made = ObservationBuilder(NodeConfig(checkpoint='fake', **config))
    made.check(spec)
    return made


def test_images_are_the_newest_of_each_camera_in_the_order_of_the_parameter():
    """Images arrive in any order; only the newest is decoded."""
    inputs = make_builder(replace(SPEC, image_count=3), extra_topics=('left', 'right'))
    inputs.image('right', lambda: IMAGE + 9)
    inputs.image('left', lambda: pytest.fail('an old image was read'))
    inputs.image('left', lambda: IMAGE + 1)
    observation = inputs.observe(IMAGE, 'task')
    assert [image[0, 0, 0] for image in observation.images] == [0, 1, 9]
    assert (observation.instruction, observation.proprio) == ('task', None)


def test_a_missing_or_silent_camera_is_named(monkeypatch):
    now = 100.0
    monkeypatch.setattr('vla_ros.control.observation_builder.time.monotonic', lambda: now)
    inputs = make_builder(replace(SPEC, image_count=3), extra_topics=('left', 'right'))
    inputs.image('left', lambda: IMAGE)
    with pytest.raises(MissingInput, match='no image on right yet'):
        inputs.observe(IMAGE, 'task')
    now += 0.4
    inputs.image('right', lambda: IMAGE)
    inputs.observe(IMAGE, 'task')
    now += 0.2
    with pytest.raises(MissingInput, match='newest image on left came 0.600 s ago, '
                                           'image.extra_max_age is 0.5 s'):
        inputs.observe(IMAGE, 'task')
    inputs.image('left', lambda: IMAGE)
    inputs.observe(IMAGE, 'task')


def test_the_age_of_a_state_is_that_of_its_oldest_joint(monkeypatch):
    now = 100.0
    monkeypatch.setattr('vla_ros.control.observation_builder.time.monotonic', lambda: now)
    inputs = make_builder(replace(SPEC, proprio_dim=2), proprio_joint_names=('a', 'b'))
    inputs.joints(['a', 'b'], [1.0, 2.0])
    now += 0.6
    inputs.joints(['a'], [1.5])
    with pytest.raises(MissingInput, match='on joint_states came 0.600 s ago, proprio.max_age'):
        inputs.observe(IMAGE, 'task')


def test_joints_of_several_messages_are_in_the_order_of_the_parameter():
    """Arm and gripper are in separate messages; other joints are ignored."""
    inputs = make_builder(replace(SPEC, proprio_dim=3), proprio_joint_names=('a', 'b', 'g'))
    inputs.joints(['b', 'x', 'a'], [2.0, 7.0, 1.0])
    with pytest.raises(MissingInput, match='joint_states never held g,'):
        inputs.observe(IMAGE, 'task')
    inputs.joints(['g'], [0.5])
    assert inputs.observe(IMAGE, 'task').proprio.tolist() == [1.0, 2.0, 0.5]
    inputs.joints(['a'], [math.nan])
    with pytest.raises(MissingInput, match='it must be 3 finite numbers'):
        inputs.observe(IMAGE, 'task')


@pytest.mark.parametrize('values', [(1.0, 2.0), (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, math.inf)])
def test_a_state_of_another_size_or_not_finite_is_refused(values):
    inputs = make_builder(replace(SPEC, proprio_dim=3), proprio_topic='state')
    with pytest.raises(MissingInput, match='no state of the robot on state yet'):
        inputs.observe(IMAGE, 'task')
    inputs.state((1.0, 2.0, 3.0))
    assert inputs.observe(IMAGE, 'task').proprio.tolist() == [1.0, 2.0, 3.0]
    inputs.state(values)
    with pytest.raises(MissingInput, match='on state is .* it must be 3 finite numbers'):
        inputs.observe(IMAGE, 'task')


@pytest.mark.parametrize('changes, config, error, message', [
    ({'image_count': 2}, {}, UnsupportedError, '2 cameras, the node has 1; .*image.extra_topics'),
    ({}, {'extra_topics': ('wrist',)}, UnsupportedError, '1 cameras, the node has 2'),
    ({'proprio_dim': 14, 'action_shape': (25, 14)}, {}, UnsupportedError,
     '14 numbers .of aloha: joint positions of both arms.; .*proprio.joint_names'),
    ({'proprio_dim': 5}, {}, UnsupportedError, '5 numbers; .*proprio.topic'),
    ({'proprio_dim': 5}, {'proprio_joint_names': ('a',)}, ParameterError, '5 names'),
    ({}, {'proprio_joint_names': ('a',)}, ParameterError, 'takes no proprioception'),
    ({}, {'proprio_topic': 'state'}, ParameterError, 'takes no proprioception'),
    ({}, {'proprio_topic': 's', 'proprio_joint_names': ('a',)}, ParameterError, 'empty where')])
def test_a_mismatch_with_the_policy_is_reported_at_configure(changes, config, error, message):
    with pytest.raises(error, match=message):
        make_builder(replace(SPEC, **changes), **config)


class AdapterPolicy:
    """Keeps the names of selected adapters."""

    def __init__(self):
        self.names = []

    def select_adapter(self, name):
        self.names.append(name)


def test_the_newest_adapter_choice_is_applied_once_by_the_inference_thread():
    policy, choice = AdapterPolicy(), AdapterChoice(('a=/x', 'b=/y=z'), '')
    assert (choice.folders, choice.begin()) == ({'a': '/x', 'b': '/y=z'}, 'a')
    choice.choose('b')
    choice.choose('base')
    assert not policy.names
    assert choice.apply(policy) and not choice.apply(policy)
    assert choice.in_place == 'base'
    choice.choose('')
    assert choice.apply(policy)
    assert policy.names == [None, 'a']


def test_the_base_can_be_the_first_choice():
    """A policy of several adapters loads with one, which the first inference deselects."""
    policy, choice = AdapterPolicy(), AdapterChoice(('a=/x', 'b=/y'), 'base')
    assert (choice.begin(), choice.in_place) == ('a', 'a')
    assert choice.apply(policy)
    assert policy.names == [None]


@pytest.mark.parametrize('entries, name, message', [
    (('a',), '', 'NAME=FOLDER'), (('=x',), '', 'NAME=FOLDER'), (('a=',), '', 'NAME=FOLDER'),
    (('base=x',), '', "other than 'base'"), (('a=x', 'a=y'), '', 'a name of its own'),
    (('a=x', 'b=y'), 'c', 'one of a, b, base'), (('a=x',), 'base', 'one of a$'),
    ((), 'a', 'empty where adapters names none')])
def test_an_invalid_adapter_parameter_is_refused(entries, name, message):
    """A single adapter is merged, so the base cannot be selected."""
    with pytest.raises(ParameterError, match=message):
        AdapterChoice(entries, name)
