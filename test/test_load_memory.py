# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

from load_memory import measure
import pytest

pytest.importorskip('torch')


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_loading_holds_the_weights_once(dtype):
    """A second copy of half a gigabyte would double this; a tokenizer and buffers do not."""
    assert measure(0.5, dtype)['ratio'] < 1.35
