# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

from load_memory import measure
import pytest

pytest.importorskip('torch')


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_loading_a_checkpoint_allocates_its_weights_once(dtype):
    """The ratio includes a tokenizer and buffers; a second copy of the weights would double it."""
    assert measure(0.5, dtype)['ratio'] < 1.35
