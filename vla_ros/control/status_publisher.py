# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Publishes the status in the order of the changes, each change once."""

from collections.abc import Callable
import threading
from typing import Any

from vla_ros.control.command_gate import CommandGate
from vla_ros.control.motion_output import MotionOutput
from vla_ros.control.ros_interface import RosInterface
from vla_ros.control.status import NodeStatus
from vla_ros.control.status import Status
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.state_machine import ControlMode
from vla_ros.safety.state_machine import Mode

#: States at which the black box is written.
_STOPS = (Mode.HOLD, Mode.ESTOP, Mode.FAULT)


class StatusPublisher:
    """Publishes the status, from whatever thread, and writes the black box at a stop."""

    def __init__(self, ros: RosInterface, status: NodeStatus, gate: CommandGate,
                 motion: MotionOutput, black_box: BlackBox | None,
                 count_replaced: Callable[[], int]) -> None:
        """
        Start with nothing published.

        :param count_replaced: gives how many frames newer ones have replaced.
        """
        self._motion = motion
        self._ros = ros
        self._status = status
        self._gate = gate
        self._black_box = black_box
        self._count_replaced = count_replaced
        # A status is put together and published under it, so that none overtakes another.
        self._lock = threading.Lock()
        self._is_closed = False
        self._last_published: Any = None
        self._last_state: tuple[object, ...] = ('',)

    def publish(self) -> None:
        """Publish the status."""
        with self._lock:
            self._publish(self.snapshot())

    def publish_changes(self) -> None:
        """Publish the status if anything in it is news."""
        with self._lock:
            status = self.snapshot()
            if status.headline != self._last_published:
                self._publish(status)

    def close(self) -> None:
        """Publish nothing more."""
        with self._lock:
            self._is_closed = True

    def snapshot(self) -> Status:
        """Return the present status."""
        return self._motion.complete(
            self._status.status(self._gate.context, self._count_replaced()))

    def _publish(self, status: Status) -> None:
        if self._is_closed:
            return
        self._last_published = status.headline
        self._ros.publish_status(status)
        self._remember(status)

    def _remember(self, status: Status) -> None:
        state = (status.state, status.context.instruction, status.control_mode)
        if self._black_box is None or state == self._last_state:
            return
        is_stop = status.state != self._last_state[0] and status.state in _STOPS
        self._last_state = state
        mode = '' if status.control_mode is ControlMode.AUTONOMOUS else f' {status.control_mode}'
        self._black_box.event(self._ros.now(), f'{status.state}{mode} {status.reason} '
                              f'[{status.context.instruction}]', 'warning' if is_stop else 'info')
        if is_stop:
            self._black_box.write(f'{status.state} {status.context.state.reason or ""}'.strip())
