# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What decides the result of reinforcement learning."""

from dataclasses import dataclass

from vla_ros.errors import ParameterError
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import COLORS
from vla_ros.worlds.tasks import KINDS
from vla_ros.worlds.tasks import Task

# Part of the new scenes that are of the kind in focus.
_FOCUS = 0.7


@dataclass(frozen=True)
class ReinforcementPlan:
    """
    What decides the result, beside the checkpoint to begin with.

    :param steps: iterations of rollouts and training.
    :param scenes: new ones in each iteration; where the policy fails, a group is run.
    :param revisited: most scenes in each iteration that the policy failed in lately.
    :param size: members of a group that sample.
    :param sampled: actions that each of them samples, and that are trained on.
    :param focus: kind of task of most new scenes; empty: all in turn.
    :param temperature: of the sampling.
    :param seconds: after the first of these, in which it has to succeed.
    :param batch: actions in each optimizer step.
    :param passes: how often each action is trained on.
    :param kl: weight of the divergence from the checkpoint to begin with.
    :param validation: episodes on held-out scenes, greedy; 0 keeps the last weights.
    :param validate_every: iterations between two validations.
    """

    steps: int = 40
    scenes: int = 96
    revisited: int = 12
    size: int = 8
    sampled: int = 8
    focus: str = ''
    temperature: float = 1.0
    seconds: float = 5.0
    batch: int = 128
    passes: int = 1
    learning_rate: float = 5e-5
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl: float = 0.2
    validation: int = 120
    validate_every: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject settings that teach nothing."""
        if self.size < 1:
            raise ParameterError('--group', self.size, '1 or more')
        if not 0 < self.temperature < 10:
            raise ParameterError('--temperature', self.temperature, 'above 0 and below 10')
        if self.revisited < 0:
            raise ParameterError('--revisited', self.revisited, 'a number of scenes, or 0')
        if not 0.5 <= self.seconds <= 60:
            raise ParameterError('--seconds', self.seconds, '0.5 to 60')
        if not 0 <= self.kl < float('inf'):
            raise ParameterError('--kl', self.kl, '0 or more')

    def task(self, index: int) -> int:
        """Return the index in ``ALL_TASKS`` for a scene: kinds by their shares, all colours."""
        color = index // len(KINDS) % len(COLORS)
        return ALL_TASKS.index(Task(self._kind(index), COLORS[color]))

    def _kind(self, index: int) -> str:
        share = _FOCUS if self.focus else 0.0
        if (index + 1) * share // 1 > index * share // 1:
            return self.focus
        others = [kind for kind in KINDS if kind != self.focus]
        return others[index % len(others)]
