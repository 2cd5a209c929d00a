# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What pushes an arm off its way, so that there is something to recover from."""

from dataclasses import dataclass
from dataclasses import field

import numpy as np

# A disturbance begins in a step with this probability, and pushes the targets of the joints (rad)
# and the finger (m) aside for some steps.
_DISTURBANCE, _STEPS, _PUSH = 0.06, (2, 7), np.array([0.06] * 6 + [0.012])


@dataclass
class Disturbance:
    """Pushes the targets aside for a while, again and again."""

    rng: np.random.Generator
    left: int = 0
    push: np.ndarray = field(default_factory=lambda: np.zeros(7))

    def apply(self, action: np.ndarray) -> np.ndarray:
        """Give the targets, float64 (7,), as they reach the arm."""
        if self.left == 0 and self.rng.random() < _DISTURBANCE:
            self.left = int(self.rng.integers(*_STEPS))
            self.push = _PUSH * self.rng.standard_normal(7)
        if self.left == 0:
            return action
        self.left -= 1
        return action + self.push
