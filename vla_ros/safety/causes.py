# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""For which reason an error holds the arm."""

from vla_ros.errors import describe
from vla_ros.errors import InvalidAction
from vla_ros.errors import MissingInput
from vla_ros.errors import NotFinite
from vla_ros.errors import NotMeasured
from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import Reason

_REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (InvalidAction, Reason.INVALID_TOKENS), (MemoryError, Reason.OUT_OF_MEMORY),
    (NotFinite, Reason.NOT_FINITE), (MissingInput, Reason.MISSING_INPUT),
    (NotMeasured, Reason.STALE_JOINTS))


def held_by(error: Exception) -> Held:
    """Give the hold that an error leads to."""
    if isinstance(error, Held):
        return error
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Held(reason, describe(error))
    # torch's own error, which this layer does not import torch to know.
    if type(error).__name__ == 'OutOfMemoryError':
        return Held(Reason.OUT_OF_MEMORY, describe(error))
    return Held(Reason.POLICY_ERROR, describe(error))
