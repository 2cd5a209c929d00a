# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Attention biases computed on the device: masked positions and alignment of rows."""

import pytest

torch = pytest.importorskip('torch')

from vla_ros.model.cache_positions import BatchPositions  # noqa: E402, I100
from vla_ros.model.cache_positions import DevicePositions  # noqa: E402

LENGTHS = pytest.mark.parametrize('length', [7, 16, 37])


def starts_are_aligned(bias):
    # What PyTorch asks of every stride but the last; it copies any other bias in each layer.
    return bias.stride(-1) == 1 and all(stride % 16 == 0 for stride in bias.stride()[:-1])


@LENGTHS
def test_a_position_attends_to_all_positions_up_to_itself(length):
    positions = torch.tensor([2, 5])
    bias = DevicePositions.of(positions, torch.arange(length), torch.bfloat16).bias
    assert bias.shape == (2, length) and bias.dtype == torch.bfloat16
    for row, position in zip(bias, positions):
        assert (row[:position + 1] == 0).all() and (row[position + 1:] == float('-inf')).all()
    assert starts_are_aligned(bias)


@LENGTHS
def test_each_sequence_of_a_batch_has_its_own_positions(length):
    positions = torch.tensor([[2, 3], [5, 6], [0, 1]])
    bias = BatchPositions.of(positions, torch.arange(length), torch.float32).bias
    assert bias.shape == (3, 1, 2, length)
    for rows, sequence in zip(bias[:, 0], positions):
        for row, position in zip(rows, sequence):
            assert (row[:position + 1] == 0).all() and (row[position + 1:] == float('-inf')).all()
    assert starts_are_aligned(bias)
