# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Invalid dataset statistics are refused, and the message says what to do."""

import copy
import json

from goldens import SPEC
import numpy as np
import pytest

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.dataset_statistics import StatisticsError
from vla_ros.errors import UnnormKeyError
from vla_ros.errors import VlaError

GOOD = {'q01': [-1.0, 0.0], 'q99': [1.0, 1.0], 'min': [-2.0, 0.0], 'max': [2.0, 1.0],
        'mean': [0.0, 0.5], 'std': [0.5, 0.5], 'mask': [True, False]}


@pytest.mark.parametrize('change, message', [
    ({'q01': [1.5, 0.0], 'min': None, 'max': None, 'mean': None},
     r'q01 is above q99 in dimension 0 \(1.5 > 1\)'),
    ({'q01': [-1.0, 2.0], 'min': None, 'max': None, 'mean': None}, 'q01 is above q99 in dim'),
    ({'min': [3.0, 0.0]}, 'min is above max'),
    ({'min': [-0.5, 0.0]}, 'min is above q01'),
    ({'max': [0.9, 1.0]}, 'q99 is above max'),
    ({'mean': [5.0, 0.5]}, 'mean is above max'),
    ({'std': [-0.1, 0.5]}, 'std of dimension 0 is negative'),
    ({'q01': [float('nan'), 0.0]}, 'q01 of dimension 0 is nan'),
    ({'q99': [1.0, float('inf')]}, 'q99 of dimension 1 is inf'),
    ({'max': [1e300, 1.0]}, 'max of dimension 0 is 1e'),
    ({'q01': ['-1', '0']}, 'a list of numbers'),
    ({'q01': [True, False]}, 'a list of numbers'),
    ({'q01': -1.0}, 'a list of numbers'), ({'q01': []}, 'a list of numbers'),
    ({'q01': [[-1.0], [0.0]]}, 'a list of numbers'), ({'q01': [None, 0.0]}, 'a list of numbers'),
    ({'q01': [10**400, 0]}, 'finite number'),
    ({'q99': [1.0]}, 'all lists must be of one length, got q01 2, q99 1'),
    ({'mask': [True]}, 'all lists must be of one length'),
    ({'std': [0.5]}, 'all lists must be of one length'),
    ({'mask': ['true', 'false']}, 'a list of true and false'),
    ({'mask': [1, 0]}, 'a list of true and false'), ({'mask': True}, 'a list of true and false'),
    ({'q01': None, 'q99': None}, 'no usable q01 and q99, there is min, max, mean, std; add q01'),
    ({'q99': None}, 'no usable q01 and q99'),
])
def test_inconsistent_statistics_are_refused(change, message):
    with pytest.raises(StatisticsError, match=message) as caught:
        ActionStatistics.from_dataset({'action': {**GOOD, **change}})
    assert str(caught.value).startswith('action statistics: ') and '\n' not in str(caught.value)


@pytest.mark.parametrize('change', [
    {}, {'mask': None}, {'std': None, 'mean': None}, {'q01': [0.0, 0.0], 'q99': [0.0, 1.0]},
    {'mean': [0, 1.0000001]}, {'q99': np.array([1.0, 1.0])}])
def test_valid_statistics_are_accepted(change):
    statistics = ActionStatistics.from_dataset({'action': {**GOOD, **change}})
    assert statistics.dim == 2


@pytest.mark.parametrize('dataset, message', [
    (GOOD, "put them one level down, under 'action'"), (5, 'must be an object'),
    ({'action': 5}, 'must be an object'), ({'proprio': GOOD}, "no 'action', only proprio"),
    ({}, 'only nothing')])
def test_a_missing_level_of_the_statistics_is_named(dataset, message):
    with pytest.raises(StatisticsError, match=message):
        ActionStatistics.from_dataset(dataset)


def test_the_error_for_a_checkpoint_without_statistics_names_no_datasets():
    assert 'holds no statistics' in str(UnnormKeyError(None, []))
    assert 'several' not in str(UnnormKeyError(None, []))


@pytest.fixture
def checkpoint(tmp_path):
    pytest.importorskip('torch')
    from vla_ros.util.tiny_checkpoint import write_checkpoint
    spec = copy.deepcopy(SPEC)
    spec['config']['text_config'].update(vocab_size=1024 + 64, num_hidden_layers=1)
    write_checkpoint(spec, tmp_path)
    return tmp_path


@pytest.mark.parametrize('content, message', [
    ('', 'is empty; to use norm_stats of config.json instead .golden_bridge, .* remove it'),
    ('{}', 'holds no dataset; to use norm_stats of config.json instead'),
    ('nonsense', 'cannot be read.*remove it'),
    (json.dumps({'action': GOOD}), 'put them one level down, under the name of the dataset'),
    (json.dumps({'action': GOOD, 'num_transitions': 3}), 'put them one level down'),
    (json.dumps(GOOD), 'put them one level down')])
def test_an_invalid_statistics_file_is_one_line_with_working_advice(checkpoint, content, message):
    from vla_ros.model.checkpoint import open_checkpoint
    (checkpoint / 'dataset_statistics.json').write_text(content)
    with pytest.raises(VlaError, match=message) as caught:
        open_checkpoint(str(checkpoint))
    assert 'dataset_statistics.json' in str(caught.value)
    (checkpoint / 'dataset_statistics.json').unlink()  # the advice
    assert 'golden_bridge' in open_checkpoint(str(checkpoint)).norm_stats


@pytest.mark.parametrize('change, message', [
    ({'q01': None, 'q99': None}, "unnorm_key 'mine': action statistics: no usable q01 and q99"),
    ({'q01': [1.0, 0.0], 'q99': [-1.0, 1.0], 'mask': None}, 'is above')])
def test_the_error_of_invalid_statistics_names_the_dataset(checkpoint, change, message):
    from vla_ros.policy.config import PolicyConfig
    from vla_ros.policy.load import load_policy
    (checkpoint / 'dataset_statistics.json').write_text(
        json.dumps({'mine': {'action': {**GOOD, **change}}}))
    with pytest.raises(VlaError, match=message):
        load_policy(PolicyConfig(str(checkpoint), 'mine', device='cpu'))


def test_min_and_max_scale_actions_with_normalization_bounds(oft_checkpoint, tmp_path):
    """The error of an OFT checkpoint without q01 and q99 advises this setting."""
    import shutil
    from vla_ros.policy.config import PolicyConfig
    from vla_ros.policy.load import load_policy
    shutil.copytree(oft_checkpoint, tmp_path / 'oft')
    path = tmp_path / 'oft' / 'dataset_statistics.json'
    key = 'golden_libero_no_noops'
    entry = json.loads(path.read_text())[key]
    for part in ('action', 'proprio'):
        if part in entry:
            del entry[part]['q01'], entry[part]['q99']
    path.write_text(json.dumps({key: entry}))
    (tmp_path / 'own.yaml').write_text(f'{key}: {{normalization: bounds}}\n')

    def load(**settings):
        return load_policy(PolicyConfig(str(tmp_path / 'oft'), key, device='cpu', warmup=False,
                                        **settings))
    with pytest.raises(VlaError, match='normalization: bounds in a datasets_file'):
        load()
    policy = load(datasets_file=str(tmp_path / 'own.yaml'))
    np.testing.assert_array_equal(policy.statistics.action.low, entry['action']['min'])
