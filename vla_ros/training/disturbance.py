# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Perturbation of commands, so that episodes contain recoveries."""

from dataclasses import dataclass
from dataclasses import field

import numpy as np

# A perturbation begins in a step with this probability and offsets the targets of the joints (rad)
# and the finger (m) for some steps.
_DISTURBANCE, _STEPS, _SCALE = 0.06, (2, 7), np.array([0.06] * 6 + [0.012])


@dataclass
class Disturbance:
    """Adds an offset to the targets for a few steps, at random times."""

    rng: np.random.Generator
    left: int = 0
    offset: np.ndarray = field(default_factory=lambda: np.zeros(7))

    def apply(self, action: np.ndarray) -> np.ndarray:
        """Return the perturbed targets, float64 (7,)."""
        if self.left == 0 and self.rng.random() < _DISTURBANCE:
            self.left = int(self.rng.integers(*_STEPS))
            self.offset = _SCALE * self.rng.standard_normal(7)
        if self.left == 0:
            return action
        self.left -= 1
        return action + self.offset
