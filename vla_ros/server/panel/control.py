# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The viewer in control: at most one, which asked for it and is still connected."""

from vla_ros.server.panel.robot import Outcome


class Control:
    """Which viewer may move the robot; not thread-safe."""

    def __init__(self, timeout: float) -> None:
        """
        Start with nobody in control.

        :param timeout: seconds after which a silent viewer counts as lost.
        """
        self._timeout = timeout
        self._heard = 0.0
        #: Name of the viewer in control; empty if there is none.
        self.holder = ''

    def take(self, viewer: str, now: float, force: bool = False) -> Outcome:
        """
        Take control.

        :param force: also from another viewer.
        """
        if self.holder not in ('', viewer) and not force:
            return Outcome(False, f'{self.holder} is in control')
        self.holder, self._heard = viewer, now
        return Outcome(True)

    def release(self, viewer: str) -> Outcome:
        """Return control back; what the robot is doing goes on."""
        if self.holder != viewer:
            return Outcome(False, 'you are not in control')
        self.holder = ''
        return Outcome(True)

    def keep_alive(self, viewer: str, now: float) -> None:
        """Record a message of a viewer."""
        if viewer == self.holder:
            self._heard = now

    def refuse(self, viewer: str) -> str:
        """Return why a viewer may not move the robot; empty if it may."""
        if viewer == self.holder:
            return ''
        return f'{self.holder} is in control' if self.holder else 'take control first'

    def drop_lost(self, now: float) -> bool:
        """Take control from a silent viewer; return whether there was one."""
        is_lost = bool(self.holder) and now - self._heard > self._timeout
        if is_lost:
            self.holder = ''
        return is_lost

    def drop(self, viewer: str) -> bool:
        """Take control from a viewer whose connection has ended; return whether it had it."""
        return self.release(viewer).ok
