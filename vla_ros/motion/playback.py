# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Plays actions: each in its time, within every limit, always able to stop."""

from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from vla_ros.errors import ParameterError
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.action_space import Pose
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.kinematics import Unreachable
from vla_ros.motion.pace import PaceMeter
from vla_ros.motion.robot import Robot
from vla_ros.motion.timing import Timing
from vla_ros.motion.trajectory import BoundedTrajectory
from vla_ros.safety.gates import Gates
from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import Reason

#: How far beyond a limit a joint may be measured, rad or m: encoders and calibrations err.
_MEASUREMENT = 0.02
#: Seconds that a held arm's command takes to get to where the arm is.
_SETTLE = 0.5


@dataclass(frozen=True)
class Setpoint:
    """
    What the joints are to do at one moment.

    :param positions: float64 (N,), rad and m.
    :param velocities: float64 (N,).
    :param accelerations: float64 (N,).
    :param is_moving: False once they are to rest.
    """

    positions: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray
    is_moving: bool


@dataclass(frozen=True)
class Knot:
    """
    Where an action begins or ends.

    :param joints: float64 (N,), rad and m.
    :param pose: of the tip, where actions move the tip. What a delta starts from: between two
        knots the joints take the tip off the straight line by a little, always to the same side,
        and a hundred answers a second would add that up.
    """

    joints: np.ndarray
    pose: Pose | None = None


@dataclass(frozen=True)
class Score:
    """
    Actions laid out in time; nothing moves by it until it is played.

    :param began: seconds at which the first action begins.
    :param duration: seconds that each action is given.
    :param knots: start and end of each of the T actions, T + 1 in all.
    :param actions: float64 (T, D), what the knots came from.
    """

    began: float
    duration: float
    knots: tuple[Knot, ...]
    actions: np.ndarray

    def index(self, now: float) -> int:
        """Give the action that is due, T after the last one."""
        # A hair early rather than late: a tick meant for the boundary may come just before it.
        passed = int((now - self.began) / self.duration + 1e-6)
        return min(max(passed, 0), len(self.actions))

    def reference(self, now: float) -> tuple[Knot, np.ndarray]:
        """Give where the joints are to be, and at what mean speed they go, float64 (N,)."""
        index = self.index(now)
        if index == len(self.actions):
            return self.knots[-1], np.zeros(self.knots[-1].joints.shape)
        start, end = self.knots[index:index + 2]
        step = end.joints - start.joints
        share = min(max((now - self.began) / self.duration - index, 0.0), 1.0)
        pose = start.pose and end.pose and start.pose.towards(end.pose, share)
        return Knot(start.joints + share * step, pose), step / self.duration

    def end(self, index: int) -> float:
        """Give the time at which an action is to have ended."""
        return self.began + (index + 1) * self.duration


@dataclass(frozen=True)
class Basis:
    """
    What new actions start from.

    :param now: seconds at which they begin.
    :param knot: where the actions so far have led by then; without a pose where the arm rests.
    :param speeds: float64 (N,), mean speeds of the action under way.
    :param rest: float64 (K, D), the actions not yet ended, if any are being played.
    """

    now: float
    knot: Knot
    speeds: np.ndarray
    rest: np.ndarray | None


class Playback:
    """
    The arm's motion, from actions.

    A delta starts from the reference: where the actions so far have led by now, not where the
    arm happens to be. So a hundred answers a second move it no further than five do, and what it
    lags behind is made up for. Not thread-safe but for :meth:`compose`; its owner's lock is the
    one under which commands are sent.
    """

    def __init__(self, robot: Robot, reader: ActionReader, gates: Gates, timing: Timing,
                 kinematics: Kinematics | None = None) -> None:
        """
        Prepare; :meth:`start` begins.

        :param kinematics: of the robot; needed for end-effector actions.
        :raises ParameterError: timing and action space do not fit each other.
        """
        if timing.remainder == 'blend' and reader.dataset.space == 'eef_pose':
            raise ParameterError('action.remainder', 'blend',
                                 'drop where action.space is eef_pose: the mean of two rotations '
                                 'written as angles is not the rotation between them')
        if reader.is_cartesian and kinematics is None:
            raise ParameterError('kinematics', None, 'given for end-effector actions')
        self._robot = robot
        self._reader = reader
        self._gates = gates
        self._timing = timing
        self._kinematics = kinematics if reader.is_cartesian else None
        self._is_delta = str(reader.dataset.space).endswith('_delta')
        #: How answers keep up, where actions are deltas: others lose nothing by coming late.
        self.meter = PaceMeter(timing.duration, timing.repeat)
        self._arm = slice(len(robot.joints))
        self._hand = slice(len(robot.joints), None)
        self._trajectory: BoundedTrajectory | None = None
        self._score: Score | None = None
        self._playing = -1
        self._is_held = True
        self._is_settled = True

    @property
    def is_started(self) -> bool:
        """Whether it is known where the joints are."""
        return self._trajectory is not None

    def start(self, positions: np.ndarray, now: float) -> None:
        """
        Begin at rest.

        :param positions: float64 (N,), measured.
        :raises Held: a joint is beyond its limits by more than a measurement's error.
        """
        limits = self._robot.limits
        inside = np.clip(positions, limits.lower, limits.upper)
        beyond = np.abs(inside - positions)
        if not (beyond <= _MEASUREMENT).all():
            most = int(np.nan_to_num(beyond, nan=np.inf).argmax())
            raise Held(Reason.LIMIT, f'{limits.names[most]} was measured at {positions[most]:.4f},'
                                     f' beyond its limits {limits.lower[most]:g} and '
                                     f'{limits.upper[most]:g}: move it back by hand')
        self._trajectory = BoundedTrajectory(limits, len(self._robot.joints), inside, now)
        self._score = None
        self._is_held = self._is_settled = True

    def reset(self) -> None:
        """Forget everything: whoever goes on has to start anew from measured positions."""
        self._trajectory = None
        self._score = None

    def basis(self, now: float) -> Basis:
        """Give what actions that come now start from."""
        assert self._trajectory is not None, 'started'
        if self._score is None:
            rest = self._trajectory.destination
            return Basis(now, Knot(rest), np.zeros(rest.shape), None)
        knot, speeds = self._score.reference(now)
        return Basis(now, knot, speeds, self._score.actions[self._score.index(now):])

    def compose(self, actions: np.ndarray, basis: Basis) -> Score:
        """
        Lay actions out in time from the basis on, through every gate; nothing moves by that.

        May run while :meth:`sample` does, in another thread.

        :param actions: float64 (T, D), un-normalised.
        :raises Held: a gate stops them, or a pose is not to be reached.
        """
        self._gates.finite(actions)
        speeds = basis.speeds
        knots = [basis.knot if basis.knot.pose else self._knot(basis.knot.joints)]
        rows: list[np.ndarray] = []
        wanted = len(actions)
        for action in self._repeated(self._blended(actions, basis.rest)):
            try:
                end = self._end(action, knots[-1], speeds)
            except Held:
                if len(rows) >= wanted:
                    break  # a repetition, which nobody asked for: the answer ends where it ends
                raise
            speeds = (end.joints - knots[-1].joints) / self._timing.duration
            knots.append(end)
            rows.append(action)
        return Score(basis.now, self._timing.duration, tuple(knots), np.array(rows))

    def play(self, score: Score) -> None:
        """Replace whatever was being played."""
        if self._score is not None and self._is_delta:
            before = self._score
            self.meter.note(score.began - before.began, len(before.actions) * before.duration)
        self._score = score
        self._playing = -1
        self._is_held = False

    def hold(self, now: float) -> None:
        """Drop all actions and come to rest as soon as the limits allow."""
        self._score = None
        if self._trajectory is not None and not self._is_held:
            self._trajectory.brake(now)
            self._is_held = True
            self._is_settled = False

    def sample(self, now: float, measured: np.ndarray | None = None) -> Setpoint:
        """
        Give what the joints are to do now.

        :param measured: float64 (N,), where they are, if known: a held arm rests there.
        """
        assert self._trajectory is not None, 'started'
        trajectory = self._trajectory
        if self._score is not None:
            index = self._score.index(now)
            if index != self._playing and index < len(self._score.actions):
                trajectory.head_for(self._score.knots[index + 1].joints, now,
                                    self._score.end(index) - now + self._timing.smoothing)
            self._playing = index
        elif not self._is_settled and not trajectory.is_moving(now) and measured is not None:
            # Once only: an arm that sags under its weight would be followed all the way down.
            limits = self._robot.limits
            trajectory.head_for(np.clip(measured, limits.lower, limits.upper), now, _SETTLE)
            self._is_settled = True
        moving = trajectory.is_moving(now)
        return Setpoint(*trajectory.state(now), moving)

    def _knot(self, joints: np.ndarray) -> Knot:
        if self._kinematics is None:
            return Knot(joints)
        return Knot(joints, self._kinematics.pose(joints[self._arm]))

    def _repeated(self, actions: np.ndarray) -> np.ndarray:
        if not self._is_delta:
            return actions
        times = int(self._timing.repeat / self._timing.duration + 1e-6)
        return np.concatenate([actions, np.repeat(actions[-1:], times, axis=0)])

    def _blended(self, actions: np.ndarray, rest: np.ndarray | None) -> np.ndarray:
        if self._timing.remainder == 'drop' or rest is None:
            return actions
        rest = rest[:len(actions)]
        shares = np.arange(1, len(rest) + 1)[:, None] / (len(rest) + 1)
        return np.concatenate([shares * actions[:len(rest)] + (1.0 - shares) * rest,
                               actions[len(rest):]])

    def _end(self, action: np.ndarray, start: Knot, speeds: np.ndarray) -> Knot:
        arm, pose = self._arm_end(action, start)
        hand = self._reader.grippers(action, start.joints[self._hand])
        wanted = np.concatenate([arm, hand])
        joints = self._gates.target(wanted, start.joints, speeds, self._timing.duration)
        is_as_wanted = np.array_equal(joints[self._arm], arm)
        return Knot(joints, pose) if is_as_wanted else self._knot(joints)

    def _arm_end(self, action: np.ndarray, start: Knot) -> tuple[np.ndarray, Pose | None]:
        joints = start.joints[self._arm]
        if self._kinematics is None or start.pose is None:
            return self._reader.joints(action, joints), None
        pose = self._reader.pose(action, start.pose)
        pose = replace(pose, position=self._gates.tip(pose.position))
        try:
            return self._kinematics.solve(pose, joints), pose
        except Unreachable as error:
            self._gates.violations['unreachable'] += 1
            raise Held(Reason.UNREACHABLE, str(error)) from None
