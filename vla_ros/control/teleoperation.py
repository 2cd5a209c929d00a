# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A teleoperator's commands: taken while the deadman is held, checked, and sent as any other."""

from collections.abc import Callable
import logging

from vla_ros.control.command_gate import CommandContext
from vla_ros.control.command_gate import CommandGate
from vla_ros.control.motion_output import MotionOutput
from vla_ros.motion.teleop import JointTarget
from vla_ros.motion.teleop import TipVelocity
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety.causes import hold_of

_logger = logging.getLogger(__name__)


class Teleoperation:
    """
    Hands commands on to the motion output; used by one thread.

    A command that cannot be used holds the arm, and the next good one ends that hold.
    """

    def __init__(self, gate: CommandGate, motion: MotionOutput, now: Callable[[], int],
                 timeout: float, publish_changes: Callable[[], None]) -> None:
        """
        Start with nothing taken.

        :param now: gives nanoseconds of ROS time.
        :param timeout: seconds for which a command counts.
        :param publish_changes: publishes the status if anything in it is news.
        """
        self._gate = gate
        self._motion = motion
        self._now = now
        self._timeout = timeout
        self._publish_changes = publish_changes
        self._stamps: dict[type, int] = {}

    def take(self, command: JointTarget | TipVelocity, stamp: int) -> None:
        """
        Handle a command of whoever holds the deadman.

        :param stamp: of its message, ns; 0 if it has none: then its arrival counts.
        """
        context = self._gate.context
        if not context.is_teleoperated:
            return
        try:
            self._check_stamp(type(command), stamp)
            self._motion.teleoperate(command, context)
        except Exception as error:  # whatever it is: nothing moves, and the next one is tried
            self._hold(hold_of(error), context)
        self._publish_changes()

    def refuse(self, problem: str) -> None:
        """Hold the arm, if it is taken over, because it is not known whose commands these are."""
        context = self._gate.context
        if context.is_teleoperated:
            self._hold(Hold(Reason.TELEOPERATION, problem), context)
            self._publish_changes()

    def _check_stamp(self, kind: type, stamp: int) -> None:
        if not stamp:
            return
        age = (self._now() - stamp) / 1e9
        before, self._stamps[kind] = self._stamps.get(kind, 0), stamp
        if abs(age) > self._timeout:
            raise Hold(Reason.TELEOPERATION, f'the stamp of a command is {age:.3f} s old, '
                       f'teleop.timeout is {self._timeout:g} s: set the clock, or leave it zero')
        if stamp < before:
            raise Hold(Reason.TELEOPERATION, f'a command stamped {(before - stamp) / 1e9:.3f} s '
                       'before the one that came before it')

    def _hold(self, hold: Hold, context: CommandContext) -> None:
        if self._gate.problem(hold, context):
            _logger.error('a command of the teleoperator is refused: %s', hold)
