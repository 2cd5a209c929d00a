# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""When simulated time passes: in real time, or never ahead of the actions."""

import math

from vla_ros.sim.real_time_factor import RealTimeFactor

#: Seconds of wall time for which a step waits for the command of its tick.
_COMMAND_TIMEOUT = 0.2
#: An image without an action after so many publications counts as done: the arm was held.
_PUBLICATIONS = 3
#: Fraction of the timeout after which the next image is taken, before the first action.
_FIRST_FRACTION = 0.125


class Schedule:
    """
    Decides when a simulation step may be made.

    With ``pause`` time stands still from an image until its action, so that an inference may take
    any time, and from a tick of the clock until the command for it.
    """

    def __init__(self, pause: bool, speed: float, timeout: float, period: float) -> None:
        """
        Prepare; :meth:`begin` starts an episode.

        :param timeout: seconds of wall time that one action may take.
        :param period: simulated seconds of a tick.
        """
        #: Simulated seconds so far; they never go back.
        self.elapsed = 0.0
        #: Images with an action since the beginning.
        self.actions = 0
        self._pause = pause
        self._timeout = timeout
        self._period = period
        self._real_time = RealTimeFactor(period, speed, 0.0)
        self._ticks = self._first_tick = 0
        self._due_steps = 0
        self._last_image = -1
        self._published_at = math.inf
        self._repeats = 0
        self._last_action = -1
        self._ticked_at = -math.inf
        self._has_commands = False

    def begin(self) -> None:
        """Start an episode without any action."""
        self.actions = 0
        self._last_image = self._last_action = -1
        self._has_commands = False

    def advance_time(self, ticks: int) -> None:
        """Advance simulated time by some ticks."""
        self._ticks += ticks
        self._due_steps -= ticks
        self.elapsed = round(self._ticks * self._period, 9)

    def image_published(self, stamp: int, now: float) -> None:
        """Record the publication of the image with this stamp, ns."""
        self._last_image, self._published_at, self._repeats = stamp, now, 0

    def action_received(self, stamp: int) -> bool:
        """
        Record an action by the stamp of its image, ns.

        :returns: whether it is the first one for its image.
        """
        if stamp <= self._last_action:
            return False
        self._last_action = stamp
        if not self.actions:
            self._first_tick = self._ticks
        self.actions += 1
        return True

    def executed(self, ticks: int) -> int:
        """
        Return how many actions were begun since the first one came.

        :param ticks: of an action; one image may bring several.
        """
        return -((self._first_tick - self._ticks) // ticks) if self.actions else 0

    def must_wait(self, now: float, has_command: bool) -> bool:
        """
        Return whether time stands still.

        :param now: monotonic seconds.
        :param has_command: whether a command has come since the last tick.
        """
        if not self._pause:
            return False
        if not self.actions:
            # No node may run yet: time passes slowly, since stamps must not stand still.
            is_over = now - self._published_at > _FIRST_FRACTION * self._timeout
            if self._last_image >= 0 and is_over:
                self._last_image = -1
            return self._last_image >= 0
        if self._last_action < self._last_image:
            return True
        self._has_commands |= has_command
        is_late = now - self._ticked_at > _COMMAND_TIMEOUT
        if self._has_commands and not has_command and not is_late:
            return True
        return False

    def is_time_to_repeat(self, now: float) -> bool:
        """Return whether an image without an action is to be published again."""
        if not self.actions or self._last_action >= self._last_image \
                or now - self._published_at < self._timeout:
            return False
        self._published_at = now
        self._repeats += 1
        if self._repeats < _PUBLICATIONS:
            return True
        self.action_received(self._last_image)
        return False

    def is_due(self, now: float) -> bool:
        """Return whether the next tick is due at this monotonic time, s."""
        self._ticked_at = now
        if self._pause:
            return True
        if self._due_steps <= 0:
            self._due_steps = self._real_time.due(now, self.elapsed)
        return self._due_steps > 0
