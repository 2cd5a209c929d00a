# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The parameter table and the config that is built from it."""

from dataclasses import FrozenInstanceError
import math
from pathlib import Path

import pytest
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.parameters import PARAMETERS
from vla_ros.errors import ParameterError
import yaml

CONFIG = Path(__file__).parents[1] / 'config' / 'vla_inference.yaml'


def test_defaults_are_valid_and_the_config_is_frozen():
    """A list with one empty name, which rclpy needs, becomes an empty list."""
    config = NodeConfig()
    assert (config.action_space, config.joint_names, config.autostart) == ('raw', (), True)
    with pytest.raises(FrozenInstanceError):
        config.device = 'cpu'


def test_values_are_read_under_their_ros_names():
    config = NodeConfig.from_values({
        'action.space': 'joint_delta', 'action.joint_names': ['a', 'b'], 'status.period': 2,
        'use_sim_time': True})
    assert (config.action_space, config.joint_names) == ('joint_delta', ('a', 'b'))
    assert config.status_period == 2.0


@pytest.mark.parametrize('name, value, allowed', [
    ('device', 'tpu', 'one of auto, cpu, cuda'),
    ('device', 1, 'one of auto, cpu, cuda'),
    ('status.period', 0.0, 'a number from 0.05 to 10'),
    ('status.period', math.nan, 'a number from 0.05 to 10'),
    ('status.period', True, 'a number from 0.05 to 10'),
    ('status.period', 'often', 'a number from 0.05 to 10'),
    ('chunk_length', 2.0, 'a whole number from 0 to 1000'),
    ('chunk_length', -1, 'a whole number from 0 to 1000'),
    ('chunk_length', True, 'a whole number from 0 to 1000'),
    ('image.transforms', ['rotate_90'], 'a list of rotate_180, center_crop, libero_resize'),
    ('autostart', 1, 'true or false'),
    ('instruction', None, 'a string'),
    ('action.joint_names', 'a', 'a list of strings'),
    ('action.joint_names', ['a', 1], 'a list of strings')])
def test_an_invalid_value_is_refused_with_the_allowed_ones(name, value, allowed):
    with pytest.raises(ParameterError) as refused:
        NodeConfig.from_values({name: value})
    assert refused.value.name == name
    assert refused.value.allowed == allowed


def test_the_parameter_file_has_every_parameter_with_its_default():
    def flatten(tree, prefix=''):
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from flatten(value, f'{prefix}{name}.')
            else:
                yield f'{prefix}{name}', value

    values = dict(flatten(yaml.safe_load(CONFIG.read_text())['/**']['ros__parameters']))
    assert set(values) == {parameter.name for parameter in PARAMETERS}
    assert NodeConfig.from_values(values) == NodeConfig()


def test_only_instruction_and_adapter_can_change_at_run_time():
    assert {item.name for item in PARAMETERS if not item.read_only} == {'instruction', 'adapter'}
