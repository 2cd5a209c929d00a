# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Recorded actions as a policy: those of an evaluation, which ``vla_eval --suite`` wrote."""

from collections import deque
import json
from pathlib import Path

import numpy as np

from vla_ros.errors import VlaError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig


class ReplayPolicy:
    """Plays each recorded episode once, in order, by its instruction; then it stays at rest."""

    def __init__(self, folder: Path, unnorm_key: str, chunk_length: int = 1) -> None:
        """
        Read a recording.

        :param folder: that holds ``recording.json``.
        :param chunk_length: actions that are given at once.
        :raises VlaError: it does not, or a file is not as it should be.
        """
        self.spec = PolicySpec(
            checkpoint=str(folder), unnorm_key=unnorm_key, action_shape=(chunk_length, 7),
            image_count=1,
            proprio_dim=0, device='cpu', dtype='float64', attention='none',
            attention_reason='it has none', quantization='none')
        self._episodes: dict[str, deque[np.ndarray]] = {}
        try:
            for entry in json.loads((folder / 'recording.json').read_text(encoding='utf-8')):
                actions = np.load(folder / entry['file'], allow_pickle=False)
                if actions.ndim != 2 or actions.shape[1] != 7:
                    raise ValueError(f'{entry["file"]} has shape {actions.shape}, not (T, 7)')
                self._episodes.setdefault(entry['instruction'], deque()).append(actions)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VlaError(f'recording {folder}: {error}; give the folder that vla_eval --suite '
                           '--output wrote') from None
        self._actions: deque[np.ndarray] | None = None
        self._last = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])

    def infer(self, observation: Observation) -> ActionChunk:
        """
        Return the next actions of the episode.

        :raises VlaError: nothing was recorded for the instruction, or everything is played.
        """
        if self._actions is None:
            left = self._episodes.get(observation.instruction)
            if not left:
                raise VlaError(f'nothing is left of the recording for {observation.instruction!r}')
            self._actions = deque(left.popleft())
        chunk = np.stack([self._next(self._actions) for _ in range(self.spec.action_shape[0])])
        # Recorded behind the transforms of the gripper, and played before them.
        chunk[:, 6] = 0.5 * (1.0 - chunk[:, 6])
        return ActionChunk(chunk, np.clip(chunk, -1.0, 1.0), (), (), np.zeros(0, np.float32),
                           observation.instruction, (), {})

    def _next(self, actions: deque[np.ndarray]) -> np.ndarray:
        self._last = (actions.popleft() if actions else
                      np.array([0.0] * 6 + [self._last[6]]))
        return self._last

    def reset(self) -> None:
        """Start the next episode."""
        self._actions = None


def make(config: PolicyConfig) -> ReplayPolicy:
    """Make the policy of the folder that ``checkpoint`` names."""
    return ReplayPolicy(Path(config.checkpoint), config.unnorm_key or 'libero_spatial',
                        config.chunk_length or 1)
