# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Checks the output of every policy, ours or a user's, before anything moves by it."""

import math

import numpy as np

from vla_ros.errors import VlaError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import PolicySpec


class ChunkError(VlaError):
    """An output of a policy that is not the chunk that its spec promises."""


def check_chunk(chunk: ActionChunk, spec: PolicySpec) -> None:
    """
    Compare an output with the spec of the policy that gave it.

    Whether the numbers are finite is checked where they become a command.

    :raises ChunkError: it has another shape, is no array of floating-point numbers, or its period
        is not a time.
    """
    for name in ('actions', 'normalized'):
        array = getattr(chunk, name)
        if not isinstance(array, np.ndarray) or array.dtype.kind != 'f':
            kind = getattr(array, 'dtype', type(array).__name__)
            raise ChunkError(f'policy {spec.checkpoint}: {name} are {kind}, they must be an array '
                             'of floating-point numbers')
        if array.shape != tuple(spec.action_shape):
            raise ChunkError(f'policy {spec.checkpoint}: {name} have shape {array.shape}, its '
                             f'spec promises {tuple(spec.action_shape)}')
    period = chunk.period_s
    if period is not None and (type(period) not in (int, float) or not math.isfinite(period)
                               or period <= 0.0):
        raise ChunkError(f'policy {spec.checkpoint}: the period is {period!r}, it must be a '
                         'number of seconds above zero, or None')
