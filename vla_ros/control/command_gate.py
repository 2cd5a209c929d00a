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
from typing import TypeVar

from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety.deadman import Deadman
from vla_ros.safety.emergency_stop import EmergencyStop
from vla_ros.safety.emergency_stop import EstopTopicState
from vla_ros.safety.state_machine import advance
from vla_ros.safety.state_machine import ControlMode
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import refuse_rearm
from vla_ros.safety.state_machine import State

T = TypeVar('T')


@dataclass(frozen=True)
class CommandContext:
    """
    What commands depend on at one moment; every inference step keeps the one it began with.

    :param version: of the instruction: 0 as configured at start, one more at each change.
    :param state: of the state machine.
    :param detail: more about the reason of a hold or a fault.
    :param epoch: one more at each change that makes the result under way stale.
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
        """Whether a result may be sent."""
        return self.state.is_open and bool(self.instruction)

    @property
    def is_teleoperated(self) -> bool:
        """Whether a teleoperator's command may be sent."""
        return self.state.is_teleoperated


class CommandGate:
    """
    Keeps the state, and lets a command out only if nothing has changed since its frame came.

    Checking and sending happen under the same lock as every change. So once a change of the
    instruction, a stop, a hold or a deactivation has returned, no command of before can follow;
    the status that acknowledges the change is published after that.

    The gate does not wait for the emergency stop: each send polls it first. So a press that has
    arrived stops the next command, however busy the threads are.
    """

    def __init__(self, instruction: str, dry_start: bool = False, is_shadow: bool = False,
                 stop: EmergencyStop | None = None, deadman: Deadman | None = None) -> None:
        """
        Start unconfigured, with the instruction that was configured.

        :param dry_start: activation begins in shadow.
        :param is_shadow: it stays there.
        :param stop: the emergency stop; used under the lock only, so that no sample of it
            overtakes another. None if there is none.
        :param deadman: of teleoperators, likewise.
        """
        self._lock = threading.Lock()
        self._context = CommandContext(instruction, state=State(awaiting=stop is not None))
        self._dry_start = dry_start
        self._is_shadow = self._is_always_shadow = is_shadow
        self._stop = EmergencyStop(tuple) if stop is None else stop
        self._deadman = Deadman(tuple, 0.0) if deadman is None else deadman
        self._has_sent = False

    @property
    def has_sent(self) -> bool:
        """Whether anything has ever been sent."""
        return self._has_sent

    @property
    def context(self) -> CommandContext:
        """The context of this moment."""
        with self._lock:
            return self._context

    @property
    def teleoperator(self) -> bytes | None:
        """Publisher of the deadman that is held; None while none is."""
        return self._deadman.holder

    def deadman_due(self) -> float:
        """Return the monotonic seconds at which a silent deadman ends the takeover."""
        return self._deadman.due

    def handle(self, event: Event, detail: str = '') -> bool:
        """
        Handle an event.

        :param detail: of LOAD_FAILED and HANG: what went wrong.
        :returns: whether it was a change.
        """
        with self._lock:
            return self._advance(event, None, detail)

    def poll(self) -> bool:
        """
        Apply the messages of emergency stop and deadman.

        :returns: whether it was a change.
        """
        with self._lock:
            return self._poll()

    def observe(self, view: EstopTopicState) -> bool:
        """
        Record the emergency stop's publishers; hold for one whose QoS are incompatible.

        :returns: whether it was a change.
        """
        with self._lock:
            self._stop.observe(view)
            is_changed = self._poll()
            state = self._context.state
            if not self._has_sent and not state.awaiting and self._stop.expect():
                self._renew(state=replace(state, awaiting=True))
                is_changed = True
            if self._context.state.mode is Mode.ESTOP and self._context.state.pressed:
                detail = 'its publisher is gone' if self._stop.is_orphaned(view) else ''
                is_changed |= detail != self._context.detail
                self._context = replace(self._context, detail=detail)
            return is_changed

    def activate(self) -> str:
        """
        Enable commands.

        :returns: why that is refused; empty if it was done.
        """
        with self._lock:
            if not self._stop.mismatch:
                self._advance(Event.ACTIVATE)
            return self._stop.mismatch

    def instruct(self, instruction: str) -> bool:
        """
        Change the instruction; results of the old one are discarded.

        :returns: whether it was a change. A repeated instruction changes nothing: some senders
            repeat theirs many times a second.
        """
        with self._lock:
            if instruction == self._context.instruction:
                return False
            self._renew(instruction=instruction, version=self._context.version + 1,
                        state=advance(self._context.state, Event.INTERRUPT))
            return True

    def begin_task(self, instruction: str,
                   refuse: Callable[[CommandContext], str]) -> int | None:
        """
        Change the instruction, and end the hold of the task before; earlier results are stale.

        :param refuse: says of a context why no task can begin in it.
        :returns: the version of the instruction; None if the emergency stop, or the state, does
            not allow it.
        """
        with self._lock:
            self._poll()
            if refuse(self._context):
                return None
            state = replace(self._context.state, mode=Mode.WAITING, reason=None)
            self._renew(instruction=instruction, version=self._context.version + 1, detail='',
                        state=state)
            return self._context.version

    def end_task(self, version: int, reason: str) -> None:
        """
        Hold the arm, and take the instruction of a task back: no ~/rearm goes on with it.

        :param version: of the task's instruction; a later instruction stays.
        :param reason: why it has ended.
        """
        with self._lock:
            self._poll()
            self._advance(Event.PROBLEM, Reason.TASK_ENDED, reason)
            if self._context.version == version:
                self._renew(instruction='', version=version + 1)

    def rearm(self, view: EstopTopicState = EstopTopicState()) -> str:
        """
        End an emergency stop or a hold, or take the arm out of the shadow.

        A press whose publisher is gone ends with it: nobody else could release it.

        :param view: of the emergency stop's publishers, at this moment.
        :returns: why that is refused; empty if it was done.
        """
        with self._lock:
            self._poll()
            refusal = self._stop.refuse_rearm(view)
            state = self._context.state
            if state.pressed and self._stop.is_orphaned(view):
                state = replace(state, pressed=False)
            refusal = refusal or refuse_rearm(state)
            if not refusal and self._is_shadow and state.mode is Mode.SHADOW:
                refusal = self._refuse_live() or 'call ~/shadow with false first'
            if not refusal:
                self._stop.rearm(view)
                if self._context.state.pressed:
                    self._advance(Event.ESTOP_RELEASED)
                self._advance(Event.REARM)
                if self._is_shadow:
                    self._renew(state=replace(self._context.state, shadow=True))
            return refusal

    def set_shadow(self, is_shadow: bool) -> str:
        """
        Hold the arm; re-armed, it goes on in shadow, or out of it.

        The switch itself moves nothing: into the shadow the arm first brakes within its limits,
        and out of it, it is held where it is measured.

        :returns: why that is refused; empty if it was done.
        """
        with self._lock:
            self._poll()
            if self._is_always_shadow and not is_shadow:
                return self._refuse_live()
            was_shadow = self._context.state.shadow
            if (self._is_shadow, was_shadow) == (is_shadow, is_shadow):
                return ''
            self._is_shadow = is_shadow
            if is_shadow and was_shadow:
                return ''  # by a dry start: ~/rearm ends it no more
            self._advance(Event.PROBLEM, Reason.OPERATOR, '~/shadow was called, the arm goes on '
                          f'{"in" if is_shadow else "out of"} shadow')
            if was_shadow:
                self._renew(state=replace(self._context.state, shadow=False))
            return ''

    def resume(self) -> str:
        """
        Resume the policy after a takeover.

        :returns: why that is refused; empty if it was done.
        """
        with self._lock:
            self._poll()
            if self._context.state.control is ControlMode.TAKEOVER:
                return 'a teleoperator holds the deadman: it must be released first'
            self._advance(Event.RESUME)
            return ''

    def problem(self, hold: Hold, context: CommandContext | None = None) -> bool:
        """
        Hold the arm.

        :param hold: why; if the reason is fatal, it is a fault.
        :param context: of the inference step that had the problem; if that is stale the problem
            is, too, unless it is a fault.
        :returns: whether it was a change.
        """
        with self._lock:
            if context is not None and not hold.reason.fatal \
                    and context.epoch != self._context.epoch:
                return False
            event = Event.FAIL if hold.reason.fatal else Event.PROBLEM
            return self._advance(event, hold.reason, hold.detail)

    def send(self, context: CommandContext, act: Callable[[], None]) -> bool:
        """
        Send a result, or a teleoperator's command, unless it is stale.

        :param context: that the inference step began with, or in which the command came.
        :param act: publishes the command, or executes the trajectory.
        :returns: whether it was sent.
        """
        with self._lock:
            self._poll()
            # No epoch is open to both: a change of the control mode begins another.
            if context.epoch != self._context.epoch or not (
                    self._context.is_open or self._context.is_teleoperated):
                return False
            self._context = replace(self._context, detail='',
                                    state=advance(self._context.state, Event.RESULT))
            self._has_sent = True
            act()
            return True

    def read(self, get: Callable[[CommandContext], T]) -> T:
        """Read under the lock what must not change meanwhile."""
        with self._lock:
            return get(self._context)

    def tick(self, act: Callable[[CommandContext], Hold | None]) -> bool:
        """
        Send what is due.

        :param act: sends it if :meth:`may_send`, or says why the arm is to be held; then it is
            called once more, to send what holds it.
        :returns: whether the state has changed.
        """
        with self._lock:
            before = self._context
            self._poll()
            hold = act(self._context)
            if hold is not None and self._advance(Event.PROBLEM, hold.reason, hold.detail):
                act(self._context)
            return self._context is not before

    def may_send(self) -> bool:
        """Poll stop and deadman once more, as the last thing before sending; in a tick only."""
        return not self._poll()

    def _refuse_live(self) -> str:
        return 'safety.shadow is set: the arm stays in shadow' if self._is_always_shadow else ''

    def _poll(self) -> bool:
        is_changed = False
        for event in self._stop.poll():
            is_changed |= self._advance(event)
        hold = self._stop.fault()
        if hold is not None:
            is_changed |= self._advance(Event.PROBLEM, hold.reason, hold.detail)
        for event in self._deadman.poll():
            is_changed |= self._advance(event)
        if self._context.state.control is not ControlMode.TAKEOVER:
            self._deadman.drop()  # refused, or ended by a stop
        return is_changed

    def _advance(self, event: Event, reason: Reason | None = None, detail: str = '') -> bool:
        state = advance(self._context.state, event, reason, self._dry_start or self._is_shadow)
        if state == self._context.state:
            if reason is None or reason is not state.reason or detail == self._context.detail:
                return False
            # Another detail of the same reason: it is published, and no result becomes stale.
            self._context = replace(self._context, detail=detail)
            return True
        if not detail and state.reason is self._context.state.reason:
            detail = self._context.detail  # a message of the emergency stop keeps the reason
        self._renew(state=state, detail=detail if state.reason is not None else '')
        return True

    def _renew(self, **changes: Any) -> None:
        self._context = replace(self._context, epoch=self._context.epoch + 1,
                                since=time.monotonic(), **changes)
