# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Seeds of the scenes of training, none of which an evaluation can use.

The simulator's parameter ``seed`` is a 64-bit integer; these lie above all of them.
"""

_BEYOND = 1 << 64
_SPACE = 1 << 32
#: Largest seed of a training; a larger one would draw the scenes of another round.
LARGEST_SEED = _SPACE - 1


def rollout_seed(seed: int, number: int, index: int) -> int:
    """Seed of the scene of an episode in a round of rollouts."""
    return _BEYOND * (1 + number) + seed * _SPACE + index


def demonstration_seed(seed: int, index: int) -> int:
    """Seed of the scene of a recorded demonstration."""
    return rollout_seed(seed, -1, index) + _BEYOND * _SPACE


def group_seed(seed: int, iteration: int, index: int) -> int:
    """Seed of the scene of a group in an iteration of reinforcement learning."""
    return rollout_seed(seed, iteration, index) + 2 * _BEYOND * _SPACE


def validation_seed(seed: int, index: int) -> int:
    """Seed of a scene that reinforcement learning is validated on; it is in no round."""
    return rollout_seed(seed, 0, index)
