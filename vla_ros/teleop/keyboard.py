# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A terminal's keys as a teleoperator's device, for the simulator."""

import math
import threading

from vla_ros.teleop.intent import Intent

#: Axis and direction of each key that moves the tip.
MOVES = {'w': (0, 1), 's': (0, -1), 'a': (1, 1), 'd': (1, -1), 'r': (2, 1), 'f': (2, -1),
         'u': (3, 1), 'o': (3, -1), 'i': (4, 1), 'k': (4, -1), 'j': (5, 1), 'l': (5, -1)}
HELP = ('t take over, x give up, c let the policy go on; w s a d r f move, u o i k j l turn, '
        'g gripper, q quit')
#: Seconds for which a key moves: a terminal repeats a key that is held, and says nothing of its
#: release.
_MOVE = 0.15


class Keyboard:
    """
    Remembers keys.

    A terminal does not say when a key is released, so this is no deadman: it counts as held from
    the key that takes over until another one ends it, or until no key has come for a while.
    """

    def __init__(self, timeout: float) -> None:
        """
        Start released.

        :param timeout: seconds without a key after which it is released.
        """
        self._timeout = timeout
        self._lock = threading.Lock()
        self._held_until = -math.inf
        self._moves: dict[int, tuple[int, float]] = {}
        self._opening: float | None = None
        self._resumes = False

    def press(self, key: str, now: float) -> None:
        """Handle a key; one without a meaning does nothing."""
        with self._lock:
            is_held = now < self._held_until
            if key == 't' or (is_held and (key in MOVES or key == 'g')):
                self._held_until = now + self._timeout
            if key == 't' and not is_held:
                self._moves, self._opening = {}, None
            if key == 'x':
                self._held_until = -math.inf
            elif key == 'c':
                self._resumes = True
            elif key == 'g':
                self._opening = 1.0 if self._opening == 0.0 else 0.0
            elif key in MOVES:
                axis, direction = MOVES[key]
                self._moves[axis] = direction, now + _MOVE

    def read(self, now: float) -> Intent:
        """Return what the keys say."""
        with self._lock:
            resumes, self._resumes = self._resumes, False
            if now >= self._held_until:
                return Intent(resumes=resumes)
            axes = [0.0] * 6
            for axis, (direction, until) in self._moves.items():
                axes[axis] = float(direction) if now < until else 0.0
            return Intent(True, tuple(axes), opening=self._opening, resumes=resumes)
