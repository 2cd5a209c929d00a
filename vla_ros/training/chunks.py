# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A LeRobot dataset as OpenVLA-OFT sees it: several cameras, chunks of actions, the state."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.data.lerobot_dataset import action_statistics
from vla_ros.data.lerobot_dataset import describe_values
from vla_ros.data.lerobot_dataset import LeRobotDataset
from vla_ros.data.lerobot_metadata import DatasetError
from vla_ros.data.lerobot_writer import NEXT_ACTIONS

_STATE = 'observation.state'


class ChunkDataset:
    """The frames of all episodes, each with the actions that follow it."""

    def __init__(self, folder: Path, cameras: tuple[str, ...] = (), proprio: bool = False) -> None:
        """
        Open a folder.

        :param cameras: features with the images, the main camera first; empty for the first one.
        :param proprio: whether the state of the robot is read, from ``observation.state``.
        :raises DatasetError: it is no dataset, one of another kind, or has no such feature.
        :raises UnsupportedError: pyarrow is missing.
        """
        if len(set(cameras)) < len(cameras):
            raise DatasetError(folder, f'a camera is given twice: {", ".join(cameras)}')
        self.main = LeRobotDataset(folder, cameras[0] if cameras else '')
        for camera in cameras:
            if camera not in self.main.cameras:
                raise DatasetError(folder, f'camera {camera!r} is not one of '
                                           f'{", ".join(self.main.cameras)}')
        self.cameras = cameras or (self.main.camera,)
        self.states = self._read_states() if proprio else None

    @property
    def statistics(self) -> dict[str, Any]:
        """What dataset_statistics.json says: the action and, where it is read, the state."""
        stats = action_statistics(self.main)
        if self.states is not None:
            stats[self.main.name]['proprio'] = describe_values(self.states)
        return stats

    def images(self, row: int) -> list[np.ndarray]:
        """Return the image of each camera, uint8 (H, W, 3), RGB."""
        return [self.main.image(row, camera) for camera in self.cameras]

    def chunk(self, row: int, length: int) -> np.ndarray:
        """
        Return the actions from a frame on, float32 (length, D), in the dataset's units.

        Behind the end of the episode the last action is repeated, as OFT's training does. Where
        frames are rarer than actions, they are those of ``next_actions``.

        :raises DatasetError: a frame has fewer of them.
        """
        if NEXT_ACTIONS in self.main.metadata.features:
            chunk = self._next_actions[row].reshape(-1, self.main.actions.shape[1])
            if len(chunk) < length:
                raise DatasetError(self.main.folder, f'{NEXT_ACTIONS} has {len(chunk)} actions, '
                                                     f'fewer than the chunk of {length}')
            return chunk[:length]
        last = self._ends[np.searchsorted(self._ends, row)]
        return self.main.actions[np.minimum(np.arange(row, row + length), last)]

    @cached_property
    def _next_actions(self) -> np.ndarray:
        return self.main.vectors(NEXT_ACTIONS)

    @cached_property
    def _ends(self) -> np.ndarray:
        """Last frame of each episode, int64."""
        lengths = [episode.length for episode in self.main.metadata.episodes]
        return np.cumsum(lengths) - 1

    def _read_states(self) -> np.ndarray:
        """Read the state of every frame, float32 (N, P)."""
        folder, features = self.main.folder, self.main.metadata.features
        if _STATE not in features:
            raise DatasetError(folder, f'there is no feature {_STATE!r}, which proprioception '
                                       f'needs (features: {", ".join(sorted(features))})')
        states = self.main.states
        if states is None or not np.isfinite(states).all():
            raise DatasetError(folder, f'{_STATE} has numbers that are not finite')
        return states
