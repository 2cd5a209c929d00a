# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A server that misses the deadline of a remote policy, and replies afterwards."""

import time

import numpy as np
import pytest

from vla_ros.policy.remote import RemoteError


def assert_late_reply_is_dropped(policy, stalling, observation, go, expected):
    """
    Miss the deadline once, then infer again.

    :param stalling: an observation to which the server replies late, once ``go`` is set.
    :param observation: one that it replies to at once, with ``expected`` as the first number.
    """
    policy._deadline = 0.5
    began = time.monotonic()
    with pytest.raises(RemoteError, match='no reply within 0.5 s'):
        policy.infer(stalling)
    assert time.monotonic() - began < 20
    policy._deadline = 30.0
    go.set()
    assert np.allclose(policy.infer(observation).actions[0, 0], expected)
