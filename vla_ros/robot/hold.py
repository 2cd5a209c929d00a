# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Why an arm is held: the reasons, and the error that carries one."""

from enum import Enum

from vla_ros.errors import VlaError


class Reason(str, Enum):
    """
    Why the arm is held, or why nothing works.

    :param automatic: whether the next good result ends the hold by itself. Where it does not, an
        operator has to check the arm first and call ``~/rearm``.
    :param fatal: whether it is a fault: no later result can be good, ``~/rearm`` does not help.
    """

    automatic: bool
    fatal: bool

    def __new__(cls, text: str, automatic: bool, fatal: bool = False) -> 'Reason':
        """Make a member whose value is its text."""
        member = str.__new__(cls, text)
        member._value_ = text
        member.automatic = automatic
        member.fatal = fatal
        return member

    STALE_IMAGE = 'stale image', True
    FROZEN_IMAGE = 'frozen image', True
    CLOCK_JUMPED = 'clock jumped', True
    STALE_JOINTS = 'stale joint states', True
    MISSING_INPUT = 'missing input', True
    INVALID_TOKENS = 'invalid tokens', True
    LIMIT = 'limit', True
    UNREACHABLE = 'unreachable', True
    NOT_FINITE = 'not finite', True
    POLICY_ERROR = 'policy error', True
    QOS_MISMATCH = 'QoS mismatch', True
    TELEOPERATION = 'teleoperation', True
    JUMP = 'jump', False
    OUT_OF_MEMORY = 'out of memory', False
    OPERATOR = 'operator', False
    TASK_ENDED = 'task ended', False
    ESTOP_MISFIT = 'emergency stop cannot be received', False
    ESTOP_SILENT = 'emergency stop silent', False
    NOT_LOADED = 'not loaded', False, True
    HANGING = 'inference hangs', False, True
    DEVICE_ERROR = 'device error', False, True
    CAMERA_ENDED = 'camera thread ended', False, True
    WORKER_ENDED = 'inference thread ended', False, True

    def __str__(self) -> str:
        return self.value


class Hold(VlaError):
    """Something that stops the arm, with the reason for the state machine."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
