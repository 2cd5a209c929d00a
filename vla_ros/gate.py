# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Whether something may move, decided under one lock with the sending itself."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import threading
import time
from typing import Any
from typing import Optional
from typing import TypeVar

from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import advance
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import Reason
from vla_ros.safety.state_machine import refuse_rearm
from vla_ros.safety.state_machine import State

T = TypeVar('T')


@dataclass(frozen=True)
class Order:
    """
    What the arm is told at one moment; every answer is given to an order.

    :param version: of the instruction: 0 as configured at start, one more at each change.
    :param state: of the state machine.
    :param detail: more about the reason of a hold or a fault.
    :param epoch: one more at each change that makes void what is being computed.
    :param since: monotonic seconds at which the epoch began.
    """

    instruction: str
    version: int = 0
    state: State = State()
    detail: str = ''
    epoch: int = 0
    since: float = field(default_factory=time.monotonic)

    @property
    def is_open(self) -> bool:
        """Whether an answer may be sent."""
        return self.state.is_open and bool(self.instruction)


class Gate:
    """
    Keeps the state, and lets a command out only if nothing has changed since its frame came.

    Checking and sending happen under the same lock as every change. So once a change of the
    instruction, a stop, a hold or a deactivation has returned, no command of before can follow;
    the status that acknowledges the change is published after that.

    The emergency stop is not waited for: whoever is about to send looks at the button himself, so
    that a press stops what is sent from the moment it has arrived, however busy the threads are.
    """

    def __init__(self, instruction: str, dry_start: bool = False, is_shadow: bool = False,
                 read_button: Callable[[], Optional[bool]] = lambda: None) -> None:
        """
        Start unconfigured, with the instruction that was configured.

        :param dry_start: activation begins in shadow.
        :param is_shadow: it stays there.
        :param read_button: takes what the emergency stop has said since, pressed or not; None if
            nothing. Called under the lock only, so that no word of it overtakes another.
        """
        self._lock = threading.Lock()
        self._order = Order(instruction)
        self._dry_start = dry_start or is_shadow
        self._is_shadow = is_shadow
        self._read_button = read_button

    @property
    def order(self) -> Order:
        """What is to be done at this moment."""
        with self._lock:
            return self._order

    def handle(self, event: Event, detail: str = '') -> bool:
        """
        Let something happen.

        :param detail: of LOAD_FAILED and HANG: what went wrong.
        :return: whether it was a change.
        """
        with self._lock:
            return self._advance(event, None, detail)

    def hear(self) -> bool:
        """
        Do as the emergency stop says.

        :return: whether it was a change.
        """
        with self._lock:
            return self._hear()

    def instruct(self, instruction: str) -> bool:
        """
        Change the instruction; answers to the old one are void.

        :return: whether it was a change. Repeating an instruction restarts nothing: some senders
            repeat theirs many times a second.
        """
        with self._lock:
            if instruction == self._order.instruction:
                return False
            self._renew(instruction=instruction, version=self._order.version + 1,
                        state=advance(self._order.state, Event.INTERRUPT))
            return True

    def rearm(self) -> str:
        """
        End an emergency stop or a hold, or take the arm out of the shadow.

        :return: why that is refused; empty if it was done.
        """
        with self._lock:
            refusal = refuse_rearm(self._order.state)
            if not refusal and self._is_shadow and self._order.state.mode is Mode.SHADOW:
                refusal = 'safety.shadow is set: the arm stays in shadow'
            if not refusal:
                self._advance(Event.REARM)
                if self._is_shadow:
                    self._renew(state=replace(self._order.state, shadow=True))
            return refusal

    def problem(self, held: Held, order: Optional[Order] = None) -> bool:
        """
        Hold the arm.

        :param order: what was being answered when the problem came up; if that has become void
            the problem has, too.
        :return: whether it was a change.
        """
        with self._lock:
            if order is not None and order.epoch != self._order.epoch:
                return False
            return self._advance(Event.PROBLEM, held.reason, held.detail)

    def send(self, order: Order, publish: Callable[[], None]) -> bool:
        """
        Send an answer, unless it became void.

        :param order: what the answer was given to.
        :param publish: sends it, or has it played.
        :return: whether it was sent.
        """
        with self._lock:
            self._hear()
            if order.epoch != self._order.epoch or not self._order.is_open:
                return False
            self._order = replace(self._order, detail='',
                                  state=advance(self._order.state, Event.ANSWER))
            publish()
            return True

    def look(self, read: Callable[[Order], T]) -> T:
        """Read something that must not change meanwhile."""
        with self._lock:
            return read(self._order)

    def tick(self, act: Callable[[Order], Optional[Held]]) -> bool:
        """
        Send what is due.

        :param act: sends it if :meth:`may_send`, or says why the arm is to be held; then it is
            called once more, to send what holds it.
        :return: whether the state has changed.
        """
        with self._lock:
            before = self._order
            self._hear()
            held = act(self._order)
            if held is not None and self._advance(Event.PROBLEM, held.reason, held.detail):
                act(self._order)
            return self._order is not before

    def may_send(self) -> bool:
        """Look at the button once more, as the last thing before sending; in a tick only."""
        return not self._hear() or self._order.state.mode is not Mode.ESTOP

    def _hear(self) -> bool:
        pressed = self._read_button()
        if pressed is None:
            return False
        return self._advance(Event.ESTOP_PRESSED if pressed else Event.ESTOP_RELEASED)

    def _advance(self, event: Event, reason: Optional[Reason] = None, detail: str = '') -> bool:
        state = advance(self._order.state, event, reason, self._dry_start)
        if state == self._order.state:
            if reason is None or reason is not state.reason or detail == self._order.detail:
                return False
            # Another sentence for the same reason: worth telling, and nothing becomes void.
            self._order = replace(self._order, detail=detail)
            return True
        self._renew(state=state, detail=detail if state.reason is not None else '')
        return True

    def _renew(self, **changes: Any) -> None:
        self._order = replace(self._order, epoch=self._order.epoch + 1, since=time.monotonic(),
                              **changes)
