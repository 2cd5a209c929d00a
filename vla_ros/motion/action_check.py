# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The interface of the checks that an action passes on its way to a trajectory."""

from typing import Protocol

import numpy as np


class ActionCheck(Protocol):
    """Accepts an action, clamps it, or holds the arm; every method raises ``Hold`` for a hold."""

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """Name and number of violations of each limit."""

    def margins(self, margins: np.ndarray) -> None:
        """Check the margins of the tokens, float32 (T·D,)."""

    def finite(self, actions: np.ndarray) -> None:
        """Check that actions, float64 (T, D), are numbers."""

    def tip(self, position: np.ndarray) -> np.ndarray:
        """Return a position of the tip, float64 (3,) m in the base frame, that is allowed."""

    def unreachable(self, nearest: np.ndarray | None, detail: str) -> np.ndarray:
        """Return positions of the arm's joints, float64 (J,), instead of a pose out of reach."""

    def target(self, target: np.ndarray, start: np.ndarray, speeds: np.ndarray,
               duration: float) -> np.ndarray:
        """Return positions of all joints, float64 (N,), that are allowed."""

    def following(self, commanded: np.ndarray, measured: np.ndarray) -> None:
        """Check that the arm follows its commands, float64 (N,) each."""
