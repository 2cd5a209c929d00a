# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The deadman of a teleoperator: who holds it, and whether that is still known.

The user of a :class:`Deadman` calls it under one lock, see :mod:`vla_ros.control.command_gate`.
"""

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
import logging
import math
import time

from vla_ros.safety.state_machine import Event

_logger = logging.getLogger(__name__)

#: Publishers that are remembered as released; the oldest is forgotten, and has to be released.
_REMEMBERED = 64


@dataclass(frozen=True)
class DeadmanSample:
    """
    One message of a deadman.

    :param publisher: its gid; empty where the middleware gives none. None: a message that could
        not be read, which releases whatever is held.
    """

    pressed: bool
    publisher: bytes | None = b''


class Deadman:
    """
    Merges the messages of all publishers into events of a takeover.

    A takeover is begun by a publisher that was seen released and is then pressed, and lasts while
    its messages say so often enough. Until it is released nobody else can begin one.
    """

    def __init__(self, take: Callable[[], Iterable[DeadmanSample]], timeout: float,
                 resumes: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        """
        Start with nothing received.

        :param take: gives what has come since.
        :param timeout: seconds for which a message counts.
        :param resumes: a release lets the policy go on.
        :param now: monotonic seconds.
        """
        self._take = take
        self._timeout = timeout
        self._resumes = resumes
        self._now = now
        self._holder: bytes | None = None
        self._fresh_until = math.inf
        self._released: dict[bytes, None] = {}
        self._has_warned = False

    @property
    def holder(self) -> bytes | None:
        """Publisher of the deadman that is held; None while none is."""
        return self._holder

    @property
    def due(self) -> float:
        """Monotonic seconds from which on the deadman counts as released; infinity for never."""
        return math.inf if self._holder is None else self._fresh_until

    def poll(self) -> tuple[Event, ...]:
        """Process all new messages, and return the resulting events in order."""
        now = self._now()
        events: list[Event] = []
        for sample in self._take():
            events += self._note(sample, now)
        if self._holder is not None and now >= self._fresh_until:
            self.drop()
            events.append(Event.PAUSE)
        return tuple(events)

    def drop(self) -> None:
        """End the takeover; whoever holds the deadman has to release and press it anew."""
        if self._holder is not None:
            self._holder = None
            self._has_warned = False

    def _note(self, sample: DeadmanSample, now: float) -> tuple[Event, ...]:
        publisher = sample.publisher
        if publisher is None:
            self.drop()
            return (Event.PAUSE,)
        if not sample.pressed:
            return self._release(publisher)
        if publisher == self._holder:
            self._fresh_until = now + self._timeout
            return ()
        if publisher not in self._released:
            self._warn('it was not released before: release it, then press it')
            return ()
        del self._released[publisher]
        if self._holder is not None:
            self._warn('another teleoperator holds the arm: wait until that one has released')
            return ()
        self._holder, self._fresh_until = publisher, now + self._timeout
        self._has_warned = False
        return (Event.TAKE_OVER,)

    def _release(self, publisher: bytes) -> tuple[Event, ...]:
        self._released.pop(publisher, None)
        self._released[publisher] = None
        if len(self._released) > _REMEMBERED:
            del self._released[next(iter(self._released))]
        if publisher != self._holder:
            return ()
        self.drop()
        return (Event.PAUSE, Event.RESUME) if self._resumes else (Event.PAUSE,)

    def _warn(self, problem: str) -> None:
        # Once in a takeover, and once between two: a deadman repeats itself many times a second.
        if not self._has_warned:
            self._has_warned = True
            _logger.warning('a deadman that is pressed is refused: %s', problem)
