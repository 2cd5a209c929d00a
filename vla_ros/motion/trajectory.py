# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Motion within limits of position, velocity, acceleration and jerk, always able to stop."""

from copy import copy
import math
from typing import Any

import numpy as np

from vla_ros.robot.limits import Limits
from vla_ros.util.packages import missing_package

#: How far rounding may take a trajectory beyond a position limit, rad or m.
_TOLERANCE = 1e-9
#: Distance from the target, velocity and acceleration below which a joint rests there. Given what
#: is left by rounding (1e-12) and a duration, ruckig plans a motion of a hundredth of a radian to
#: and fro that takes so long.
_STILL = 1e-9


class BoundedTrajectory:
    """
    The motion of N joints; ruckig plans it, this class keeps every plan safe.

    There is always one plan, and every plan ends at rest within the position limits. A new one
    takes its place only if that is true of it, too; else the old one goes on. So no sequence of
    calls leads beyond a limit. Velocity, acceleration and jerk are bounded by ruckig.

    Times are seconds of any steady clock; they must not go back. Not thread-safe.
    """

    def __init__(self, limits: Limits, together: int, positions: np.ndarray, now: float) -> None:
        """
        Start at rest.

        :param together: so many joints, the first ones, arrive together; the others, the
            grippers, go as fast as they can.
        :param positions: float64 (N,), within the limits.
        :raises UnsupportedError: ruckig is not installed.
        """
        try:
            import ruckig
        except ImportError as error:
            raise missing_package('motion', error) from None
        self._ruckig = ruckig
        self._limits = limits
        count = len(limits.names)
        self._planner = ruckig.Ruckig(count)
        self._input = ruckig.InputParameter(count)
        # Below the limits by a tolerance, so that a check with other rounding finds them kept.
        self._input.max_velocity = (limits.velocity * (1.0 - 1e-6)).tolist()
        self._input.max_acceleration = (limits.acceleration * (1.0 - 1e-6)).tolist()
        self._input.max_jerk = (limits.jerk * (1.0 - 1e-6)).tolist()
        self._together = together
        self._rest = np.array(positions)
        self._plan: Any = None  # None: at rest in self._rest
        self._began = now

    def state(self, now: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return positions, velocities and accelerations at a time, float64 (N,) each."""
        if self._plan is None:
            still = np.zeros(self._rest.shape)
            return self._rest, still, still
        position, velocity, acceleration = self._plan.at_time(
            min(max(0.0, now - self._began), self._plan.duration))
        return (np.clip(position, self._limits.lower, self._limits.upper),
                np.array(velocity), np.array(acceleration))

    @property
    def destination(self) -> np.ndarray:
        """Where the plan ends, float64 (N,)."""
        return self._rest if self._plan is None else self.state(math.inf)[0]

    @property
    def end(self) -> float:
        """The time at which the joints rest; minus infinity if they do."""
        return -math.inf if self._plan is None else self._began + self._plan.duration

    def braked(self, at: float) -> 'BoundedTrajectory':
        """Return the same motion, but braking from a time on; this one goes on as planned."""
        # A shallow copy will do: plans are replaced, never changed, and ruckig's input is written
        # anew for each.
        braking = copy(self)
        braking.brake(at)
        return braking

    def is_moving(self, now: float) -> bool:
        """Whether the plan has not ended yet."""
        if self._plan is not None and now - self._began >= self._plan.duration:
            self._rest = self.state(now)[0]
            self._plan = None
        return self._plan is not None

    def set_target(self, positions: np.ndarray, now: float, duration: float) -> None:
        """
        Move to rest at positions, float64 (N,) within the limits.

        :param duration: seconds to take; it takes longer where a limit asks for it.
        """
        self._aim(now)
        self._input.control_interface = self._ruckig.ControlInterface.Position
        self._input.target_position = self._without_noise(positions).tolist()
        # Where arriving together would lead a joint beyond its limit, each goes as fast as it can.
        self._synchronise(self._together)
        self._input.minimum_duration = duration
        if not self._adopt(now):
            self._synchronise(0)
            self._input.minimum_duration = None
            self._adopt(now)

    def brake(self, now: float) -> None:
        """Stop the arm as soon as the limits allow, wherever that is."""
        if not self.is_moving(now):
            return
        self._aim(now)
        self._input.control_interface = self._ruckig.ControlInterface.Velocity
        self._synchronise(0)
        self._input.minimum_duration = None
        if not self._adopt(now) and self._stop is not None:
            # Braking ends beyond a position limit: end at the limit.
            self.set_target(np.clip(self._stop, self._limits.lower, self._limits.upper), now, 0.0)

    def _aim(self, now: float) -> None:
        self.is_moving(now)
        position, velocity, acceleration = self.state(now)
        self._input.current_position = position.tolist()
        self._input.current_velocity = velocity.tolist()
        self._input.current_acceleration = acceleration.tolist()
        self._input.target_velocity = self._input.target_acceleration = [0.0] * len(position)
        self._stop: np.ndarray | None = None

    def _without_noise(self, target: np.ndarray) -> np.ndarray:
        """Keep joints at rest that are at their target, but for rounding; return the target."""
        position, velocity, acceleration = (np.array(values) for values in (
            self._input.current_position, self._input.current_velocity,
            self._input.current_acceleration))
        is_still = (np.abs([position - target, velocity, acceleration]) < _STILL).all(0)
        self._input.current_velocity = np.where(is_still, 0.0, velocity).tolist()
        self._input.current_acceleration = np.where(is_still, 0.0, acceleration).tolist()
        return np.where(is_still, position, target)

    def _synchronise(self, together: int) -> None:
        how = self._ruckig.Synchronization
        self._input.per_dof_synchronization = (
            [how.Time] * together + [how.No] * (len(self._rest) - together))

    def _adopt(self, now: float) -> bool:
        plan = self._ruckig.Trajectory(len(self._limits.names))
        try:
            result = self._planner.calculate(self._input, plan)
        except self._ruckig.RuckigError:
            return False
        if result not in (self._ruckig.Result.Working, self._ruckig.Result.Finished):
            return False
        self._stop = np.array(plan.at_time(plan.duration)[0])
        extrema = plan.position_extrema
        if any(bound.min < lower - _TOLERANCE or bound.max > upper + _TOLERANCE
               for bound, lower, upper in zip(extrema, self._limits.lower.tolist(),
                                              self._limits.upper.tolist())):
            return False
        self._plan, self._began = plan, now
        return True
