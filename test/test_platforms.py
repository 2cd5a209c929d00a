# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

import pytest

from vla_ros.data.datasets import find_dataset
from vla_ros.data.platforms import chunk_length
from vla_ros.data.platforms import find_platform
from vla_ros.data.platforms import normalization
from vla_ros.errors import ParameterError


@pytest.mark.parametrize(('key', 'action_dim', 'proprio_dim', 'name'), [
    ('libero_spatial_no_noops', 7, 8, 'libero'),
    ('my_own_data', 7, 8, 'libero'),  # sizes are enough
    ('my_own_data', 7, 7, 'bridge'),
    ('my_own_data', 14, 14, 'aloha'),
    ('my_own_data', 14, None, 'aloha'),
    ('bridge_orig', 7, None, 'bridge'),  # where they are not, the name decides
    ('LIBERO_goal', 7, None, 'libero'),
    ('bridge_orig', 7, 8, 'libero'),  # sizes come before names
    ('my_own_data', 7, None, None),
    ('libero_goal', 6, 8, None),
])
def test_the_platform_follows_from_sizes_then_from_the_name(key, action_dim, proprio_dim, name):
    platform = find_platform(key, action_dim, proprio_dim)
    assert (platform.name if platform else None) == name


def test_a_chunk_length_of_the_user_takes_precedence():
    libero = find_platform('libero_goal', 7, 8)
    assert chunk_length(0, libero, 7, 8) == 8
    assert chunk_length(3, libero, 7, 8) == 3
    assert chunk_length(3, None, 6, 6) == 3
    with pytest.raises(ParameterError, match='libero 8, aloha 25, bridge 5'):
        chunk_length(0, None, 6, 6)


def test_joint_positions_are_normalized_by_bounds():
    aloha = find_platform('my_own_data', 14, 14)
    assert normalization(aloha, None) == 'bounds'
    assert normalization(find_platform('x', 7, 8), None) == 'bounds_q99'
    assert normalization(None, find_dataset('aloha1_fold_shirt_30_demos')) == 'bounds'
    assert normalization(None, None) == 'bounds_q99'
