# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The arm's joint position controller: it follows targets with bounded speed and acceleration."""

import numpy as np

# Well below the URDF's limits: a person may stand beside the arm.
_SPEED = np.array([0.9] * 6 + [0.12])
_ACCELERATION = np.array([12.0] * 6 + [3.0])
# How much harder than that it brakes in a stop.
_STOP = 3.0
# Distance becomes speed with this time constant, s.
_APPROACH = 0.08
#: Seconds without a command after which the arm stops.
COMMAND_TIMEOUT = 0.3


class JointFollower:
    """Moves a set point towards the commanded position, all arm joints in proportion."""

    def __init__(self, positions: np.ndarray) -> None:
        """
        Start at rest.

        :param positions: float64 (7,), rad and m, of the six joints and the gripper.
        """
        self.set_point = positions.copy()
        self._velocity = np.zeros(7)
        self._target = positions.copy()
        self._expires = -np.inf
        self._is_stopping = False

    def command(self, target: np.ndarray, now: float) -> None:
        """Go to a position, float64 (7,); ``now`` in seconds."""
        self._target = np.array(target, np.float64)
        self._expires = now + COMMAND_TIMEOUT
        self._is_stopping = False

    def stop(self) -> None:
        """Stop the arm at once."""
        self._expires = -np.inf
        self._is_stopping = True

    def advance(self, now: float, step: float) -> np.ndarray:
        """
        Move the set point.

        :param step: seconds since the last call.
        :returns: float64 (7,), where the joints are to be now.
        """
        wanted = np.zeros(7)
        if now < self._expires:
            wanted = (self._target - self.set_point) / _APPROACH
            wanted[:6] /= max(1.0, (np.abs(wanted[:6]) / _SPEED[:6]).max())
            wanted[6] = np.clip(wanted[6], -_SPEED[6], _SPEED[6])
        limit = _ACCELERATION * step * (_STOP if self._is_stopping else 1.0)
        self._velocity += np.clip(wanted - self._velocity, -limit, limit)
        self.set_point += self._velocity * step
        return self.set_point
