# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Compares the curves of two runs of one training."""

import pytest


def assert_same_curve(found, expected):
    """
    Compare step by step, to a thousandth.

    Not bit for bit: which kernel adds up numbers, and in which order, depends on where the memory
    of a run happens to lie and on the processor.
    """
    assert len(found) == len(expected)
    for here, there in zip(found, expected):
        assert here == pytest.approx(there, rel=1e-3)
