# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Executes actions: each in its time, within every limit, always able to stop."""

from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from vla_ros.errors import ParameterError
from vla_ros.motion.action_check import ActionCheck
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.action_space import Pose
from vla_ros.motion.chunk_alignment import blend
from vla_ros.motion.chunk_alignment import shift
from vla_ros.motion.chunk_alignment import split_past
from vla_ros.motion.coverage import CoverageMeter
from vla_ros.motion.execution_times import ExecutionTimes
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.kinematics import Unreachable
from vla_ros.motion.lookahead import look_ahead
from vla_ros.motion.lookahead import Lookahead
from vla_ros.motion.timing import Timing
from vla_ros.motion.trajectory import BoundedTrajectory
from vla_ros.robot.description import Robot
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason

#: How far beyond a limit a joint may be measured, rad or m: encoders and calibrations err.
_MEASUREMENT = 0.02
#: Seconds that a held arm's command takes to get to where the arm is.
_SETTLE = 0.5


@dataclass(frozen=True)
class Setpoint:
    """
    Commanded state of the joints at one moment.

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
class Waypoint:
    """
    Where an action begins or ends.

    :param joints: float64 (N,), rad and m.
    :param pose: of the tip, where actions move the tip; a delta starts from it. Between two
        waypoints the joints take the tip off the straight line by a little, always to the same
        side, and a hundred results a second would add that up.
    """

    joints: np.ndarray
    pose: Pose | None = None


@dataclass(frozen=True)
class ActionTrajectory:
    """
    Actions planned in time; nothing moves by it until it is executed.

    :param began: seconds at which the first action begins.
    :param duration: seconds of each action.
    :param waypoints: start and end of each of the T actions, T + 1 in all.
    :param actions: float64 (T, D), the actions of the waypoints; (1, 0) of a teleoperator.
    :param past: seconds of the first action that were past when it began.
    """

    began: float
    duration: float
    waypoints: tuple[Waypoint, ...]
    actions: np.ndarray
    past: float = 0.0

    @property
    def ended(self) -> float:
        """Seconds at which the last action is to have ended."""
        return self.end(len(self.actions) - 1)

    def index(self, now: float) -> int:
        """Return the action that is due, T after the last one."""
        # With a tolerance: a tick meant for the boundary may come just before it.
        passed = int((now - self.began + self.past) / self.duration + 1e-6)
        return min(max(passed, 0), len(self.actions))

    def reference(self, now: float) -> tuple[Waypoint, np.ndarray]:
        """Return the waypoint of a time, and the mean speeds of the joints, float64 (N,)."""
        index = self.index(now)
        if index == len(self.actions):
            return self.waypoints[-1], np.zeros(self.waypoints[-1].joints.shape)
        start, end = self.waypoints[index:index + 2]
        step = end.joints - start.joints
        duration = self.duration if index else self.duration - self.past
        share = min(max(1.0 - (self.end(index) - now) / duration, 0.0), 1.0)
        pose = start.pose and end.pose and start.pose.towards(end.pose, share)
        return Waypoint(start.joints + share * step, pose), step / duration

    def end(self, index: int) -> float:
        """Return the time at which an action is to have ended."""
        return self.began - self.past + (index + 1) * self.duration


@dataclass(frozen=True)
class PlanStart:
    """
    State from which new actions start.

    :param now: seconds at which they begin.
    :param waypoint: where the actions so far have led by then; without a pose if the arm rests.
    :param speeds: float64 (N,), mean speeds of the action under way.
    :param rest: float64 (K + 1, D), the action before and those not yet ended, if any are being
        executed.
    :param left: seconds that are left of the action under way.
    :param executed: seconds since the observation in which actions were executed.
    :param interval: seconds since the actions under way began.
    """

    now: float
    waypoint: Waypoint
    speeds: np.ndarray
    rest: np.ndarray | None
    left: float = 0.0
    executed: float = 0.0
    interval: float = 0.0


class TrajectoryExecutor:
    """
    The arm's motion, from actions.

    A delta starts from the reference: where the actions so far have led by now, not where the
    arm is measured. So a hundred results a second move it no further than five do, and a lag of
    the arm is made up for. Not thread-safe but for :meth:`plan`; its owner's lock is the one
    under which commands are sent.
    """

    def __init__(self, robot: Robot, reader: ActionReader, check: ActionCheck, timing: Timing,
                 kinematics: Kinematics | None = None) -> None:
        """
        Prepare; :meth:`start` begins.

        :param kinematics: of the robot; needed for end-effector actions.
        :raises ParameterError: timing and action space do not fit each other.
        """
        if timing.is_blended and reader.dataset.space == 'eef_pose':
            raise ParameterError('action.remainder', timing.remainder,
                                 'drop or align where action.space is eef_pose: the mean of two '
                                 'rotations written as angles is not the rotation between them')
        if reader.is_cartesian and kinematics is None:
            raise ParameterError('kinematics', None, 'given for end-effector actions')
        self._robot = robot
        self._reader = reader
        self._check = check
        self._timing = timing
        self._kinematics = kinematics if reader.is_cartesian else None
        self._is_delta = str(reader.dataset.space).endswith('_delta')
        #: Coverage, where actions are deltas: others lose nothing by coming late.
        self.meter = CoverageMeter(timing.duration, timing.repeat)
        self._arm = slice(len(robot.joints))
        self._hand = slice(len(robot.joints), None)
        self._trajectory: BoundedTrajectory | None = None
        #: Where the controller brakes by itself, and from when on.
        self._braking: tuple[float, BoundedTrajectory] | None = None
        self._plan: ActionTrajectory | None = None
        self._times = ExecutionTimes()
        self._current = -1
        self._is_held = True
        self._is_settled = True

    @property
    def is_started(self) -> bool:
        """Whether the joints' positions are known."""
        return self._trajectory is not None

    def start(self, positions: np.ndarray, now: float) -> None:
        """
        Start at rest.

        :param positions: float64 (N,), measured.
        :raises Hold: a joint is beyond its limits by more than a measurement's error.
        """
        limits = self._robot.limits
        inside = np.clip(positions, limits.lower, limits.upper)
        beyond = np.abs(inside - positions)
        if not (beyond <= _MEASUREMENT).all():
            most = int(np.nan_to_num(beyond, nan=np.inf).argmax())
            raise Hold(Reason.LIMIT, f'{limits.names[most]} was measured at {positions[most]:.4f},'
                                     f' beyond its limits {limits.lower[most]:g} and '
                                     f'{limits.upper[most]:g}: move it back by hand')
        self._trajectory = BoundedTrajectory(limits, len(self._robot.joints), inside, now)
        self._braking = None
        self._plan = None
        self._times.clear()
        self._is_held = self._is_settled = True

    def reset(self) -> None:
        """Discard everything: the next motion starts from measured positions."""
        self._trajectory = self._braking = None
        self._plan = None
        self._times.clear()

    def plan_start(self, now: float, observed: float | None = None) -> PlanStart:
        """
        Return the state from which actions of this moment start.

        :param observed: seconds at which the actions' observation was made; None for now.
        """
        assert self._trajectory is not None, 'started'
        if self._plan is None:
            rest = self._trajectory.destination
            return PlanStart(now, Waypoint(rest), np.zeros(rest.shape), None)
        waypoint, speeds = self._plan.reference(now)
        index, actions = self._plan.index(now), self._plan.actions
        is_over = index == len(actions) or not actions.size
        return PlanStart(
            now, waypoint, speeds,
            None if is_over else np.concatenate([actions[max(index - 1, 0), None],
                                                 actions[index:]]),
            self._plan.end(index) - now,
            0.0 if observed is None else self._executed(observed, now), now - self._plan.began)

    def plan(self, actions: np.ndarray, plan_start: PlanStart) -> ActionTrajectory:
        """
        Plan actions in time, within every limit; nothing moves by that.

        May run while :meth:`sample` does, in another thread.

        :param actions: float64 (T, D), un-normalised.
        :raises Hold: a limit holds the arm, or a pose is unreachable.
        """
        self._check.finite(actions)
        speeds = plan_start.speeds
        first = plan_start.waypoint
        waypoints = [first if first.pose else self._waypoint(first.joints)]
        rows: list[np.ndarray] = []
        actions, past = self._continued(actions, plan_start)
        wanted, left = len(actions), self._timing.duration - past
        for action in self._repeated(actions):
            try:
                end = self._end(action, waypoints[-1], speeds, left)
            except Hold:
                if len(rows) >= wanted:
                    break  # only a repetition fails: the result itself is complete
                raise
            speeds = (end.joints - waypoints[-1].joints) / left
            left = self._timing.duration
            waypoints.append(end)
            rows.append(action)
        return ActionTrajectory(plan_start.now, self._timing.duration, tuple(waypoints),
                                np.array(rows), past)

    def execute(self, trajectory: ActionTrajectory) -> None:
        """Replace the trajectory that was being executed."""
        before = self._plan
        if before is not None and before.actions.size and trajectory.actions.size:
            self._times.add(before.began, min(before.ended, trajectory.began))
            if self._is_delta:
                self.meter.note(trajectory.began - before.began, before.ended - before.began)
        else:
            self._times.clear()
        self._plan = trajectory
        self._current = -1
        self._is_held = False

    def hold(self, now: float) -> None:
        """Drop all actions and come to rest as soon as the limits allow."""
        self._plan = None
        self._times.clear()
        if self._trajectory is not None and not self._is_held:
            self._trajectory.brake(now)
            self._is_held = True
            self._is_settled = False

    def sample(self, now: float, measured: np.ndarray | None = None) -> Setpoint:
        """
        Return the commanded state of the joints now.

        :param measured: float64 (N,), where they are, if known: a held arm rests there.
        """
        assert self._trajectory is not None, 'started'
        trajectory = self._trajectory
        if self._plan is not None:
            index = self._plan.index(now)
            if index != self._current and index < len(self._plan.actions):
                trajectory.set_target(self._plan.waypoints[index + 1].joints, now,
                                      self._plan.end(index) - now + self._timing.smoothing)
            self._current = index
        elif not self._is_settled and not trajectory.is_moving(now) and measured is not None:
            # Once only: an arm that sags under its weight would be followed all the way down.
            limits = self._robot.limits
            trajectory.set_target(np.clip(measured, limits.lower, limits.upper), now, _SETTLE)
            self._is_settled = True
        moving = trajectory.is_moving(now)
        return Setpoint(*trajectory.state(now), moving)

    def look_ahead(self, now: float, seconds: float) -> Lookahead:
        """
        Return the next seconds of the motion, and how it then comes to rest.

        The sender calls :meth:`catch_up` before the next :meth:`hold` or :meth:`sample`.
        """
        assert self._trajectory is not None, 'started'
        lookahead, braking = look_ahead(self._trajectory, now, seconds)
        self._braking = now + seconds, braking
        return lookahead

    def catch_up(self, now: float) -> None:
        """Record that a controller that received nothing for too long has begun to brake."""
        if self._braking is not None and now > self._braking[0]:
            self._trajectory = self._braking[1]
            self._braking = None
            self._current = -1  # the action under way is headed for anew, from where it braked to

    def _waypoint(self, joints: np.ndarray) -> Waypoint:
        if self._kinematics is None:
            return Waypoint(joints)
        return Waypoint(joints, self._kinematics.pose(joints[self._arm]))

    def _executed(self, since: float, until: float) -> float:
        """Return the seconds between two times in which actions were executed."""
        executed = self._times.seconds(since, until)
        plan = self._plan
        if plan is not None and plan.actions.size:
            executed += max(0.0, min(until, plan.ended) - max(since, plan.began))
        return executed

    def _continued(self, actions: np.ndarray, start: PlanStart) -> tuple[np.ndarray, float]:
        """Return the actions that continue those before, and the seconds of the first one past."""
        timing, rest, past = self._timing, start.rest, 0.0
        if timing.is_aligned:
            if len(actions) == 1:
                return actions, past  # no chunk: what is left of it would be a jerk
            executed = start.executed
            if self._is_delta:
                # What is left has to last until the next result, or the arm would not get far.
                executed = min(executed, len(actions) * timing.duration - start.interval)
            skipped, past = split_past(max(0.0, executed), timing.duration, len(actions))
            actions = actions[skipped:]
        if not timing.is_blended or rest is None:
            return actions, past
        if not timing.is_aligned:
            return blend(actions, rest[1:]), past
        offset = (timing.duration - past - start.left) / timing.duration
        blended = blend(actions, shift(rest, offset))
        # A gripper between open and closed holds nothing.
        blended[:, self._reader.gripper_indices] = actions[:, self._reader.gripper_indices]
        return blended, past

    def _repeated(self, actions: np.ndarray) -> np.ndarray:
        if not self._is_delta:
            return actions
        times = int(self._timing.repeat / self._timing.duration + 1e-6)
        return np.concatenate([actions, np.repeat(actions[-1:], times, axis=0)])

    def _end(self, action: np.ndarray, start: Waypoint, speeds: np.ndarray,
             left: float) -> Waypoint:
        """Return where an action ends, of which so many seconds are left."""
        share = left / self._timing.duration
        arm, pose = self._arm_end(action, start, share)
        hand = self._reader.grippers(action, start.joints[self._hand], share)
        wanted = np.concatenate([arm, hand])
        joints = self._check.target(wanted, start.joints, speeds, left)
        is_as_wanted = np.array_equal(joints[self._arm], arm)
        return Waypoint(joints, pose) if is_as_wanted else self._waypoint(joints)

    def _arm_end(self, action: np.ndarray, start: Waypoint,
                 share: float) -> tuple[np.ndarray, Pose | None]:
        joints = start.joints[self._arm]
        if self._kinematics is None or start.pose is None:
            return self._reader.joints(action, joints, share), None
        pose = self._reader.pose(action, start.pose, share)
        pose = replace(pose, position=self._check.tip(pose.position))
        try:
            return self._kinematics.solve(pose, joints), pose
        except Unreachable as error:
            nearest = self._check.unreachable(error.nearest, str(error))
            # The next delta counts from where the arm gets to, or it would lag more and more.
            return nearest, self._kinematics.pose(nearest)
