# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

import hashlib

from goldens import CASES
from goldens import GOLDENS
from goldens import SPEC
import numpy as np
import pytest

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.actions import choose_dataset
from vla_ros.data.actions import StatisticsError
from vla_ros.errors import UnnormKeyError

[GOLDEN] = GOLDENS['action_tokenizer']
TOKENIZER = ActionTokenizer(GOLDEN['vocab_size'], GOLDEN['bins'])


def test_decode_table_equals_the_official_one_bit_for_bit():
    table = GOLDEN['decode_table']
    values = TOKENIZER.decode(np.arange(table['first_id'], table['last_id'] + 1))
    assert hashlib.sha256(values.astype('<f8').tobytes()).hexdigest() == table['sha256_f64']


def test_decoding_any_token_gives_the_official_value():
    rows = GOLDEN['decode_any']
    values = TOKENIZER.decode([row['token_id'] for row in rows])
    assert values.tolist() == [row['value'] for row in rows]


def test_encoding_gives_the_official_tokens():
    rows = GOLDEN['encode']
    ids = TOKENIZER.encode([row['value'] for row in rows])
    assert ids.tolist() == [row['token_id'] for row in rows]
    grid = GOLDEN['encode_grid']
    assert TOKENIZER.encode(np.linspace(*grid['linspace'])).tolist() == grid['token_ids']


@pytest.mark.parametrize('bins', [2, 128, 256])
def test_only_the_last_tokens_of_the_vocabulary_are_action_tokens(bins):
    ids = np.arange(1000 + 64)
    actions = ids[ActionTokenizer(1000, bins).is_action(ids)]
    assert actions.tolist() == list(range(1000 - bins, 1000))


@pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])
def test_decoded_and_unnormalized_tokens_are_the_official_action(case):
    normalized = TOKENIZER.decode(case['action_token_ids'])
    assert normalized.tolist() == case['normalized_action']
    statistics = ActionStatistics.from_dataset(SPEC['norm_stats'][case['unnorm_key']])
    np.testing.assert_allclose(statistics.unnormalize(normalized), case['action'],
                               rtol=0, atol=1e-12)


def test_without_a_mask_every_dimension_is_unnormalized():
    statistics = ActionStatistics.from_dataset({'action': {'q01': [0, 10], 'q99': [2, 30]}})
    assert statistics.unnormalize(np.array([[-1.0, 1.0]])).tolist() == [[0.0, 30.0]]


@pytest.mark.parametrize('action', [
    {'q01': [0.0]},
    {'q01': [0.0], 'q99': [1.0, 2.0]},
    {'q01': [], 'q99': []},
    {'q01': [0.0], 'q99': [float('nan')]},
    {'q01': [0.0], 'q99': [1.0], 'mask': [True, True]},
    {'q01': ['left'], 'q99': [1.0]},
])
def test_invalid_action_statistics_are_refused(action):
    with pytest.raises(StatisticsError, match='action statistics'):
        ActionStatistics.from_dataset({'action': action})


def test_a_single_dataset_is_chosen_without_its_name():
    assert choose_dataset({'bridge': {}}, None) == 'bridge'
    assert choose_dataset({'bridge': {}, 'kuka': {}}, 'kuka') == 'kuka'


@pytest.mark.parametrize('key', [None, 'fractal'])
def test_a_missing_or_unknown_dataset_name_lists_the_known_ones(key):
    with pytest.raises(UnnormKeyError, match='choose from: bridge, kuka'):
        choose_dataset({'kuka': {}, 'bridge': {}}, key)
