# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Tells what the node is doing: in the order in which it came about, and once for each change."""

from collections.abc import Callable
import threading
from typing import Any
from typing import Optional

from vla_ros.gate import Gate
from vla_ros.moving import Mover
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.state_machine import Mode
from vla_ros.shell import Shell
from vla_ros.status import Status
from vla_ros.status import StatusBoard

#: States at which the black box is written.
_STOPS = (Mode.HOLD, Mode.ESTOP, Mode.FAULT)


class Teller:
    """Publishes the status, from whatever thread, and has the black box written at a stop."""

    def __init__(self, shell: Shell, board: StatusBoard, gate: Gate, mover: Mover,
                 black_box: Optional[BlackBox], count_replaced: Callable[[], int]) -> None:
        """
        Start with nothing told.

        :param count_replaced: gives how many frames newer ones have replaced.
        """
        self._mover = mover
        self._shell = shell
        self._board = board
        self._gate = gate
        self._black_box = black_box
        self._count_replaced = count_replaced
        # A status is put together and published under it, so that none overtakes another.
        self._lock = threading.Lock()
        self._is_closed = False
        self._told: Any = None
        self._told_state = ('', '')

    def tell(self) -> None:
        """Publish the status."""
        with self._lock:
            self._publish(self._status())

    def tell_changes(self) -> None:
        """Publish the status if anything in it is news."""
        with self._lock:
            status = self._status()
            if status.headline != self._told:
                self._publish(status)

    def close(self) -> None:
        """Publish nothing more."""
        with self._lock:
            self._is_closed = True

    def _status(self) -> Status:
        return self._mover.tell(self._board.status(self._gate.order, self._count_replaced()))

    def _publish(self, status: Status) -> None:
        if self._is_closed:
            return
        self._told = status.headline
        self._shell.publish_status(status)
        self._remember(status)

    def _remember(self, status: Status) -> None:
        state = (status.state, status.order.instruction)
        if self._black_box is None or state == self._told_state:
            return
        is_stop = status.state != self._told_state[0] and status.state in _STOPS
        self._told_state = state
        self._black_box.event(self._shell.now(), f'{status.state} {status.reason} '
                              f'[{status.order.instruction}]', 'warning' if is_stop else 'info')
        if is_stop:
            self._black_box.write(f'{status.state} {status.order.state.reason or ""}'.strip())
