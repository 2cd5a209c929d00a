# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The scripted expert as a policy of the node.

The situation takes the place of proprioception. Its actions are quantised to the action tokens of
OpenVLA and back.
"""

import numpy as np

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.actions import ActionTokenizer
from vla_ros.errors import ObservationError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig
from vla_ros.worlds.libero.expert import Expert
from vla_ros.worlds.libero.expert import STATE_SIZE
from vla_ros.worlds.libero.expert import WorldState

_TOKENIZER = ActionTokenizer(32000)
#: The numbers of an action, from -1 to 1; the gripper, 0 closed to 1 open, is left as it is.
_STATISTICS = ActionStatistics(-np.ones(7), np.ones(7), np.array([True] * 6 + [False]))


class ExpertPolicy:
    """The expert as a policy of the node."""

    def __init__(self, unnorm_key: str) -> None:
        """Start."""
        self.spec = PolicySpec(
            checkpoint='scripted expert', unnorm_key=unnorm_key, action_shape=(1, 7),
            image_count=1, proprio_dim=STATE_SIZE, device='cpu', dtype='float64',
            attention='none', attention_reason='it has none', quantization='none')
        self._expert = Expert()

    def infer(self, observation: Observation) -> ActionChunk:
        """
        Return the action for a situation.

        :raises ObservationError: there is none.
        """
        if observation.proprio is None or observation.proprio.shape != (STATE_SIZE,):
            raise ObservationError('the scripted expert needs the situation as proprioception: '
                                   'set proprio.topic to /vla_sim/situation')
        action = self._expert.act(WorldState.read(observation.proprio))
        token_ids = _TOKENIZER.encode(_STATISTICS.normalize(action))
        normalized = _TOKENIZER.decode(token_ids)
        return ActionChunk(_STATISTICS.unnormalize(normalized)[None], normalized[None],
                           tuple(token_ids.tolist()), tuple(_TOKENIZER.bins(token_ids).tolist()),
                           np.full(7, np.inf, np.float32), observation.instruction, (), {})

    def reset(self) -> None:
        """Start a new episode."""
        self._expert = Expert()


def make(config: PolicyConfig) -> ExpertPolicy:
    """Make the policy: ``policy:=vla_ros.sim.libero.expert_policy:make``."""
    return ExpertPolicy(config.unnorm_key or 'libero_spatial')
