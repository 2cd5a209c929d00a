# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The arm that a policy moves: its state of motion, from measurements to setpoints."""

from dataclasses import dataclass
from dataclasses import replace
import math
import time

import numpy as np

from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.measurements import Measurements
from vla_ros.motion.pace import Pace
from vla_ros.motion.playback import Basis
from vla_ros.motion.playback import Playback
from vla_ros.motion.playback import Score
from vla_ros.motion.playback import Setpoint
from vla_ros.motion.robot import Robot
from vla_ros.policy import ActionChunk
from vla_ros.safety.gates import Gates
from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import Reason
from vla_ros.safety.state_machine import State


#: Seconds for which a measurement tells where a held arm is.
_FRESH = 0.5


@dataclass(frozen=True)
class ArmCommand:
    """
    What goes out at one moment.

    :param names: of the joints, N.
    :param twist: of the tip in the base frame, float64 (6,), m/s and rad/s; only where wanted.
    :param seconds: that the setpoint is given to be reached.
    """

    names: tuple[str, ...]
    setpoint: Setpoint
    base_frame: str
    seconds: float
    twist: np.ndarray | None = None


class Arm:
    """
    Moves by what a policy answers, and holds when it is told to.

    :meth:`basis`, :meth:`play` and :meth:`tick` are called under the lock of
    :class:`vla_ros.gate.Gate`, :meth:`compose` by the worker alone and without it: it takes the
    milliseconds.
    """

    def __init__(self, robot: Robot, playback: Playback, gates: Gates, period: float,
                 twist: Kinematics | None = None) -> None:
        """
        Start with nothing known.

        :param period: seconds from one command to the next.
        :param twist: for the velocity of the tip, where that is wanted; not the one of playback,
            which another thread uses.
        """
        self.measurements = Measurements(robot.names)
        self.gates = gates
        self._robot = robot
        self._playback = playback
        self._period = period
        self._twist = twist
        self._was_shadow = False

    @property
    def joints(self) -> tuple[str, ...]:
        """The joints without whose positions nothing moves."""
        return self._robot.joints

    @property
    def pace(self) -> Pace:
        """How answers keep up with the motion."""
        return self._playback.meter.pace

    @property
    def measured(self) -> np.ndarray | None:
        """Measured positions of these joints, float64 (J,), rad; None while one is unknown."""
        positions = self.measurements.vector(self.joints)
        return None if np.isnan(positions).any() else positions

    def basis(self, now: float) -> Basis:
        """
        Give what new actions start from.

        :raises Held: it is not known where the arm is, or it is beyond its limits.
        """
        if not self._playback.is_started:
            missing = self.measurements.missing(self.joints)
            if missing:
                raise Held(Reason.STALE_JOINTS, f'no measured position of {", ".join(missing)}: '
                                                'joint_states must give every joint of the arm')
            self._playback.start(self._measured(), now)
        return self._playback.basis(now)

    def compose(self, chunk: ActionChunk, basis: Basis) -> Score:
        """
        Lay the actions of an answer out in time, through every gate.

        :raises Held: one stops them.
        """
        self.gates.margins(chunk.margins)
        return self._playback.compose(chunk.actions, basis)

    def play(self, score: Score) -> None:
        """Move by it from now on."""
        self._playback.play(score)

    def forget(self) -> None:
        """Start anew from measured positions: time has jumped."""
        self._playback.reset()

    def tick(self, state: State, now: float) -> ArmCommand | None:
        """
        Give what is to be sent now; None for nothing.

        :raises Held: the arm does not follow.
        """
        is_changing_hands = state.shadow != self._was_shadow
        self._was_shadow = state.shadow
        is_silent = not (state.active or state.mode is Mode.FAULT)
        if is_changing_hands or is_silent or state.mode in (Mode.ESTOP, Mode.LOADING):
            # In an emergency stop nobody knows what the arm does: it has to be measured anew.
            self._playback.reset()
            return None
        if state.mode is Mode.HOLD and not self._playback.is_started:
            self._start_to_hold(now)
        if not self._playback.is_started:
            return None
        if state.is_moving:
            return self._move(state, now)
        self._playback.hold(now)
        # A velocity that takes the command to where the arm is would take the arm elsewhere.
        age = self.measurements.age(self.joints, time.monotonic())
        is_known = self._twist is None and age < _FRESH
        return self._command(self._playback.sample(now, self._measured() if is_known else None))

    def _move(self, state: State, now: float) -> ArmCommand:
        setpoint = self._playback.sample(now)
        if not state.shadow:
            self.gates.following(setpoint.positions, self._measured())
        return self._command(setpoint)

    def _start_to_hold(self, now: float) -> None:
        if self.measurements.missing(self.joints):
            return
        try:
            self._playback.start(self._measured(), now)
        except Held:
            return  # beyond its limits: there is no position that might be commanded

    def _measured(self) -> np.ndarray:
        positions = self.measurements.vector(self._robot.names)
        hands = positions[len(self.joints):]
        for index, gripper in enumerate(self._robot.grippers):
            if math.isnan(hands[index]):  # many grippers are not among the joint states
                hands[index] = gripper.open
        return positions

    def _command(self, setpoint: Setpoint) -> ArmCommand:
        command = ArmCommand(self._robot.names, setpoint, self._robot.base_frame, self._period)
        if self._twist is None:
            return command
        arm = slice(len(self.joints))
        return replace(command, twist=self._twist.velocity(setpoint.positions[arm],
                                                           setpoint.velocities[arm]))
