# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""When simulated time passes: by the clock on the wall, or never ahead of the answers."""

import math

from vla_ros.sim.pace import Pace

#: Seconds on the wall for which a step waits for the command of its tick, once they come.
_COMMAND_PATIENCE = 0.2
#: An image that is still not answered after so many times counts as answered: the arm was held.
_TIMES = 3
#: Share of the patience after which the next image is taken, while none was answered yet.
_SHARE = 0.125


class Schedule:
    """
    Says when a step may be made.

    With ``pause`` time stands still from an image until its answer, so that the policy may take
    as long as it likes, and from a tick of the clock until the command for it.
    """

    def __init__(self, pause: bool, speed: float, patience: float, period: float) -> None:
        """
        Prepare; :meth:`begin` starts an episode.

        :param patience: seconds on the wall that one answer may take.
        :param period: simulated seconds of a tick.
        """
        #: Simulated seconds so far; they never go back.
        self.elapsed = 0.0
        #: Images that were answered since the beginning.
        self.answers = 0
        self._pause = pause
        self._patience = patience
        self._period = period
        self._pace = Pace(period, speed, 0.0)
        self._ticks = 0
        self._owed = 0
        self._asked = -1
        self._asked_at = math.inf
        self._repeats = 0
        self._last_answer = -1
        self._ticked_at = -math.inf
        self._has_commands = False

    def begin(self) -> None:
        """Begin an episode: nothing is answered yet."""
        self.answers = 0
        self._asked = self._last_answer = -1
        self._has_commands = False

    def pass_time(self, ticks: int) -> None:
        """Let so many ticks pass."""
        self._ticks += ticks
        self._owed -= ticks
        self.elapsed = round(self._ticks * self._period, 9)

    def ask(self, stamp: int, now: float) -> None:
        """Note that the image of a time, ns, was published."""
        self._asked, self._asked_at, self._repeats = stamp, now, 0

    def answer(self, stamp: int) -> bool:
        """
        Note an answer.

        :returns: whether it is the first one to its image.
        """
        if stamp <= self._last_answer:
            return False
        self._last_answer = stamp
        self.answers += 1
        return True

    def must_wait(self, now: float, has_command: bool) -> bool:
        """
        Tell whether time stands still.

        :param now: steady seconds.
        :param has_command: whether a command has come since the last tick.
        """
        if not self._pause:
            return False
        if not self.answers:
            # Nobody may be there yet: time passes slowly, as a stamp must not stand still.
            if self._asked >= 0 and now - self._asked_at > _SHARE * self._patience:
                self._asked = -1
            return self._asked >= 0
        if self._last_answer < self._asked:
            return True
        self._has_commands |= has_command
        is_late = now - self._ticked_at > _COMMAND_PATIENCE
        if self._has_commands and not has_command and not is_late:
            return True
        return False

    def is_time_to_repeat(self, now: float) -> bool:
        """Tell whether an image that is not answered is to be published again."""
        if not self.answers or self._last_answer >= self._asked \
                or now - self._asked_at < self._patience:
            return False
        self._asked_at = now
        self._repeats += 1
        if self._repeats < _TIMES:
            return True
        self.answer(self._asked)
        return False

    def is_due(self, now: float) -> bool:
        """Tell whether the next tick is due, steady seconds."""
        self._ticked_at = now
        if self._pause:
            return True
        if self._owed <= 0:
            self._owed = self._pace.due(now, self.elapsed)
        return self._owed > 0
