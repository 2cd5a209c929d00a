# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The emergency stop input: presses, releases and silence of its publishers.

A software stop, not a certified one; see docs/safety.md. The user of an :class:`EmergencyStop`
calls it under one lock, see :mod:`vla_ros.control.command_gate`.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
import time

from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety.state_machine import Event

#: Seconds in which existing publishers are discovered, with their latched message.
SETTLE_TIME = 1.0
#: Seconds in which a transient local publisher has delivered its last message, if there is one:
#: the middleware may need a second try.
LATCHED_TIME = 5.0
#: Seconds after a press in which re-arming is refused, where publishers have no identity.
ANONYMOUS_GUARD = 1.0
#: Samples of one publisher that are remembered, to know the copies of them that other
#: subscriptions deliver; more than their queues hold.
_REMEMBERED = 4096


@dataclass(frozen=True)
class EstopSample:
    """
    One message of an emergency stop.

    :param publisher: its gid; empty where the middleware gives none. None: a message that could
        not be read, which is a press that needs no release.
    :param sequence: number among the publisher's messages; 0 where the middleware gives none.
    :param stamp: nanoseconds at which it was published; 0 where the middleware gives none.
    """

    pressed: bool
    publisher: bytes | None = b''
    sequence: int = 0
    stamp: int = 0


@dataclass(frozen=True)
class EstopTopicState:
    """
    What the graph shows of the emergency stop's topic.

    :param publishers: gid and node of each publisher that is there.
    :param latched: gids of the transient local ones.
    :param mismatch: publishers that cannot be received, with node and QoS of both sides; empty if
        every one can.
    """

    publishers: tuple[tuple[bytes, str], ...] = ()
    mismatch: str = ''
    latched: tuple[bytes, ...] = ()


@dataclass
class _Publisher:
    """State of one publisher."""

    is_pressed: bool = False
    order: int = 0
    received: float = 0.0
    samples: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    known: set[tuple[int, int]] = field(default_factory=set)

    def is_copy(self, sample: EstopSample) -> bool:
        """Return whether a sample has come before; if not, remember it."""
        key = (sample.sequence, sample.stamp)
        if key == (0, 0):
            return False
        if key in self.known:
            return True
        if len(self.samples) == self.samples.maxlen:
            self.known.discard(self.samples[0])
        self.samples.append(key)
        self.known.add(key)
        return False


class EmergencyStop:
    """
    Merges the samples of all publishers and all subscriptions into events.

    Any press stops, also one that was released by the time it is polled. Each publisher releases
    only its own press. The same sample may come several times, through several subscriptions.
    """

    def __init__(self, take: Callable[[], Iterable[EstopSample]], is_required: bool = False,
                 timeout: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        """
        Start with nothing received.

        :param take: gives what has come since, of each subscription in its order.
        :param is_required: nothing may move until a message of a publisher came.
        :param timeout: seconds without a message after which a publisher counts as silent; 0: it
            may be silent. A timeout requires a publisher, too.
        :param now: monotonic seconds.
        """
        self._take = take
        self._is_required = is_required or timeout > 0.0
        self._timeout = timeout
        self._now = now
        self._start = now()
        self._is_settled = False
        self._is_comparable = False
        self._pressed_at = -float('inf')
        self._publishers: dict[bytes, _Publisher] = {}
        self._mismatch = ''
        #: When each transient local publisher was first seen.
        self._latched: dict[bytes, float] = {}

    @property
    def is_pressed(self) -> bool:
        """Whether the last message of any publisher is a press."""
        return any(one.is_pressed for one in self._publishers.values())

    @property
    def mismatch(self) -> str:
        """Publishers that cannot be received, as last observed."""
        return self._mismatch

    def poll(self) -> tuple[Event, ...]:
        """Process all new messages, and return the resulting events in order."""
        now, is_new, is_press = self._now(), False, False
        events: tuple[Event, ...] = ()
        for sample in self._take():
            if self._note(sample, now):
                is_new = True
                is_press = is_press or sample.pressed
        if is_press:
            self._pressed_at = now
        if is_new:
            press = (Event.ESTOP_PRESSED,) if is_press else ()
            events = press if self.is_pressed else (*press, Event.ESTOP_RELEASED)
        if not self._is_settled and self._settles(now):
            self._is_settled = True
            events = (*events, Event.ESTOP_SETTLED)
        return events

    def fault(self) -> Hold | None:
        """Return what is wrong with the input, so that the arm must be held."""
        if self._mismatch:
            return Hold(Reason.ESTOP_MISFIT, self._mismatch)
        if self._timeout > 0.0 and self._silent(self._now()):
            return Hold(Reason.ESTOP_SILENT, 'an emergency stop has sent nothing for more than '
                                             f'safety.estop_timeout, {self._timeout:g} s')
        return None

    def observe(self, view: EstopTopicState) -> None:
        """Record what the graph shows; to be called regularly, as publishers come and go."""
        now = self._now()
        self._mismatch = view.mismatch
        self._latched = {gid: self._latched.get(gid, now) for gid in view.latched}
        self._is_comparable |= any(gid in self._publishers for gid, _ in view.publishers)
        if self._timeout == 0.0:
            # Of a publisher that is gone, only a press or a missed deadline matters.
            self._forget(view, lambda one: not one.is_pressed)

    def expect(self) -> bool:
        """Settle anew if a publisher has appeared whose latched message may be on its way."""
        is_expecting = self._is_expecting(self._now())
        if is_expecting:
            self._is_settled = False
        return is_expecting

    def is_orphaned(self, view: EstopTopicState) -> bool:
        """Return whether it is pressed, and every publisher that has pressed it is gone."""
        gone = self._gone(view)
        return self.is_pressed and all(gid in gone for gid, one in self._publishers.items()
                                       if one.is_pressed)

    def refuse_rearm(self, view: EstopTopicState) -> str:
        """Return why the arm must not be re-armed; empty if it may."""
        self.observe(view)
        now, gone, names = self._now(), self._gone(view), dict(view.publishers)
        if view.mismatch:
            return f'{view.mismatch}: change or end that publisher first'
        pressing = [gid for gid, one in self._publishers.items()
                    if one.is_pressed and gid not in gone]
        if pressing:
            by = ', '.join(sorted({names[gid] for gid in pressing if gid in names}))
            return (f'the emergency stop is still pressed{f" by {by}" if by else ""}: '
                    'it must be released first')
        guard = max(ANONYMOUS_GUARD, self._timeout)
        if b'' in self._publishers and len(names) > 1 and now - self._pressed_at < guard:
            return (f'{len(names)} publishers of the emergency stop have no identity here, '
                    f'and one pressed it less than {guard:g} s ago: each must be released first')
        if self._timeout == 0.0:
            return ''
        silent = self._silent(now)
        if len(silent) == len(self._publishers) or silent - gone:
            return ('no emergency stop' if silent == gone else 'not every emergency stop') + (
                f' sent a message in the last {self._timeout:g} s (safety.estop_timeout)')
        return ''

    def rearm(self, view: EstopTopicState) -> None:
        """Discard publishers that are gone, and with them what they have pressed."""
        self._forget(view, lambda _: True)

    def _note(self, sample: EstopSample, now: float) -> bool:
        """Accept a sample; return whether it is the first copy of it."""
        if sample.publisher is None:
            return True
        one = self._publishers.setdefault(sample.publisher, _Publisher())
        one.received = now
        if one.is_copy(sample):
            return False
        # A copy of an older sample may come late, through another subscription. Without a gid
        # there is no order: each publisher counts, and stamps, by itself.
        order = (sample.sequence or sample.stamp) if sample.publisher else 0
        if order == 0 or order >= one.order:
            one.order, one.is_pressed = order, sample.pressed
        return True

    def _settles(self, now: float) -> bool:
        """Return whether every existing publisher has had time to deliver its message."""
        if now < self._start + SETTLE_TIME or self._is_required and not self._publishers:
            return False
        return not self._is_expecting(now)

    def _is_expecting(self, now: float) -> bool:
        """Return whether a latched message may still be on its way."""
        if self._publishers and not self._is_comparable:
            return False  # the gids do not say who has sent
        return any(gid not in self._publishers and now < seen + LATCHED_TIME
                   for gid, seen in self._latched.items())

    def _silent(self, now: float) -> set[bytes]:
        return {gid for gid, one in self._publishers.items() if now - one.received > self._timeout}

    def _gone(self, view: EstopTopicState) -> set[bytes]:
        """
        Return the publishers that have left the graph.

        Some middlewares number the publishers of messages and those of the graph differently (in
        rmw_cyclonedds, these numbers have nothing in common). There a publisher is gone for sure
        if none is left, or if it is silent while as many as are left do send.
        """
        if not view.publishers:
            return set(self._publishers)
        if self._is_comparable:
            return self._publishers.keys() - {gid for gid, _ in view.publishers}
        silent = self._silent(self._now()) if self._timeout > 0.0 else set()
        sending = len(self._publishers) - len(silent)
        return silent if sending >= len(view.publishers) else set()

    def _forget(self, view: EstopTopicState, choose: Callable[[_Publisher], bool]) -> None:
        for gid in self._gone(view):
            if choose(self._publishers[gid]):
                del self._publishers[gid]
