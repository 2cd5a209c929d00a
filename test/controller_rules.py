# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Rules by which controllers accept and execute commands, written from reading their sources.

ros2_controllers at its branches humble, jazzy and kilted, its tag 6.9.0 (Lyrical) and its master
of August 2026, which blends; forward_command_controller of the same; MoveIt Servo of Jazzy.
"""

from dataclasses import dataclass
import math

import numpy as np

#: Differences: whether the end may move, and the handling of a stamp in the future.
RELEASES = {'humble': (True, 'replace'), 'jazzy': (False, 'replace'),
            'lyrical': (False, 'defer'), 'rolling': (False, 'blend')}
_EPSILON = float(np.finfo(np.float32).eps)


@dataclass
class Points:
    """A trajectory: stamp in s (0: begins on arrival), times (K,), and rows (K, N)."""

    stamp: float
    names: list[str]
    times: np.ndarray
    rows: list[tuple[np.ndarray, ...]]  # positions, velocities, accelerations of each point


def points(message) -> Points:
    """Read a trajectory_msgs/JointTrajectory."""
    def seconds(time):
        return time.sec + time.nanosec / 1e9

    return Points(seconds(message.header.stamp), list(message.joint_names),
                  np.array([seconds(point.time_from_start) for point in message.points]),
                  [(np.array(point.positions), np.array(point.velocities),
                    np.array(point.accelerations)) for point in message.points])


class TrajectoryController:
    """A joint_trajectory_controller with its defaults, whose joints lag behind."""

    def __init__(self, joints, release: str, measured, lag: float = 0.02) -> None:
        self._joints = list(joints)
        self._may_end_moving, self._future = RELEASES[release]
        self._measured = np.array(measured, float)
        self._lag = lag
        self._active: Points | None = None
        self._before = None  # time and state that the first point is approached from
        self._deferred: Points | None = None

    def refusal(self, new: Points, now: float) -> str:
        """Return why a trajectory is rejected; empty if it is accepted."""
        if len(new.names) != len(self._joints):
            return 'joints do not match the number of the controller'
        if not new.names or not new.rows:
            return 'no joints, or no points'
        unknown = set(new.names) - set(self._joints)
        if unknown:
            return f'unknown joints {sorted(unknown)}'
        if not self._may_end_moving and (np.abs(new.rows[-1][1]) > _EPSILON).any():
            return 'the last point has a velocity'
        if new.stamp and new.stamp + new.times[-1] < now:
            return 'it ends in the past'
        if (np.diff(new.times) <= 0).any():
            return 'times do not increase'
        for row in new.rows:
            if len(row[0]) != len(new.names) \
                    or any(len(one) not in (0, len(new.names)) for one in row[1:]):
                return 'a point has a wrong size'
        return ''

    def take(self, new: Points, now: float) -> str:
        """Take a trajectory; return why it is rejected, or an empty text."""
        refusal = self.refusal(new, now)
        if refusal:
            return refusal
        order = [new.names.index(name) for name in self._joints]
        new = Points(new.stamp, self._joints, new.times,
                     [tuple(one[order] if len(one) else one for one in row) for row in new.rows])
        is_future = new.stamp > now and self._active is not None
        if is_future and self._future == 'defer':
            self._deferred = new  # whatever waited before is forgotten
        elif self._active is not None and self._future == 'blend':
            self._blend(new, now)
        else:
            self._deferred = None
            self._install(new, now)
        return ''

    def update(self, now: float):
        """Return commanded positions, velocities, accelerations, (N,) each; None before any."""
        if self._deferred is not None and now >= self._deferred.stamp:
            self._install(self._deferred, now)
            self._deferred = None
        if self._active is None:
            return None
        state = self._sample(now)
        self._measured += self._lag * (state[0] - self._measured)
        return state

    def _install(self, new: Points, now: float) -> None:
        still = np.zeros(len(self._joints))
        self._active = Points(new.stamp or now, new.names, new.times, new.rows)
        self._before = now, (self._measured.copy(), still, still)

    def _blend(self, new: Points, now: float) -> None:
        # A stamp of the past or present is forgotten: the trajectory begins on arrival.
        start = max(new.stamp, now)
        bridge = self._sample(start)
        old = self._active
        times = [old.stamp + time for time in old.times.tolist()]
        kept = [(time, row) for time, row in zip(times, old.rows) if now < time < start]
        if new.times[0] > 0:
            kept.append((start, bridge))
        self._before = now, self._sample(now)
        self._active = Points(
            now, new.names,
            np.array([time - now for time, _ in kept] + (start - now + new.times).tolist()),
            [row for _, row in kept] + new.rows)

    def _sample(self, now: float):
        active = self._active
        time = now - active.stamp
        if time < active.times[0]:
            since, state = self._before
            return _between(state, active.rows[0], active.times[0] - (since - active.stamp),
                            max(0.0, now - since))
        index = int(np.searchsorted(active.times, time, side='right')) - 1
        if index >= len(active.rows) - 1:
            last = active.rows[-1]
            still = np.zeros(len(last[0]))
            return last[0], last[1] if len(last[1]) else still, last[2] if len(last[2]) else still
        return _between(active.rows[index], active.rows[index + 1],
                        active.times[index + 1] - active.times[index],
                        time - active.times[index])


def _between(start, end, duration: float, time: float):
    """Interpolate linearly, cubically or quintically by the derivatives that both ends have."""
    size = [2, 4, 6][min(_given(start), _given(end))]
    if duration <= 0.0:
        return end[0], end[1], end[2]
    half = size // 2
    powers = np.arange(size)
    rows, values = [], []
    for derivative in range(half):
        factors = np.array([math.perm(power, derivative) for power in powers], float)
        for at, state in ((0.0, start), (duration, end)):
            rows.append(factors * np.power(at, np.maximum(powers - derivative, 0)))
            values.append(state[derivative])
    coefficients = np.linalg.solve(np.array(rows), np.array(values))
    return tuple(
        (np.array([math.perm(power, derivative) for power in powers], float)
         * np.power(time, np.maximum(powers - derivative, 0))) @ coefficients
        for derivative in range(3))


def _given(state) -> int:
    return 0 if not len(state[1]) else 1 if not len(state[2]) else 2


def array_refusal(data, count: int) -> str:
    """Return why a forward_command_controller of this many joints drops an array."""
    if not np.isfinite(data).all():
        return 'not finite'
    return '' if len(data) == count else f'{len(data)} numbers for {count} joints'


def twist_refusal(message, now: float, frames, timeout: float = 0.1) -> str:
    """Return why MoveIt Servo (speed_units) halts instead of following a TwistStamped."""
    numbers = [getattr(part, axis) for part in (message.twist.linear, message.twist.angular)
               for axis in 'xyz']
    if not np.isfinite(numbers).all():
        return 'not finite'
    if message.header.frame_id not in frames:
        return f'unknown frame {message.header.frame_id!r}'
    age = now - message.header.stamp.sec - message.header.stamp.nanosec / 1e9
    return f'{age:.3f} s old' if age >= timeout else ''
