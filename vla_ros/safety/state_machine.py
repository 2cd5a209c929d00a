# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The one state machine: what the node is doing, why it stopped, and what lets it go on.

Pure: :func:`advance` is a function of a state and an event. Whoever keeps the state does so under
the lock that also guards sending, see :mod:`vla_ros.gate`.
"""

from dataclasses import dataclass
from dataclasses import replace
from enum import Enum


class Mode(str, Enum):
    """What the node is doing."""

    UNCONFIGURED = 'UNCONFIGURED'
    LOADING = 'LOADING'
    WAITING = 'WAITING'
    RUNNING = 'RUNNING'
    SHADOW = 'SHADOW'
    HOLD = 'HOLD'
    ESTOP = 'ESTOP'
    FAULT = 'FAULT'

    def __str__(self) -> str:
        return self.value


class Reason(str, Enum):
    """
    Why the arm is held, or why nothing works.

    :param automatic: whether the next good answer ends the hold by itself. Where it does not, an
        operator has to look at it first and call ``~/rearm``.
    """

    automatic: bool

    def __new__(cls, text: str, automatic: bool) -> 'Reason':
        """Make a member whose value is its text."""
        member = str.__new__(cls, text)
        member._value_ = text
        member.automatic = automatic
        return member

    STALE_IMAGE = 'stale image', True
    FROZEN_IMAGE = 'frozen image', True
    CLOCK_JUMPED = 'clock jumped', True
    STALE_JOINTS = 'stale joint states', True
    MISSING_INPUT = 'missing input', True
    INVALID_TOKENS = 'invalid tokens', True
    LIMIT = 'limit', True
    UNREACHABLE = 'unreachable', True
    NOT_FINITE = 'not finite', True
    POLICY_ERROR = 'policy error', True
    QOS_MISMATCH = 'QoS mismatch', True
    JUMP = 'jump', False
    OUT_OF_MEMORY = 'out of memory', False
    OPERATOR = 'operator', False
    NOT_LOADED = 'not loaded', False
    HANGING = 'inference hangs', False

    def __str__(self) -> str:
        return self.value


class Event(str, Enum):
    """What can happen; see :func:`advance` for what each one does."""

    CONFIGURE = 'configure'
    LOADED = 'loaded'
    LOAD_FAILED = 'load failed'
    CLEANUP = 'cleanup'
    ACTIVATE = 'activate'
    DEACTIVATE = 'deactivate'
    ANSWER = 'answer'
    PROBLEM = 'problem'
    INTERRUPT = 'interrupt'
    ESTOP_PRESSED = 'estop pressed'
    ESTOP_RELEASED = 'estop released'
    REARM = 'rearm'
    HANG = 'hang'


@dataclass(frozen=True)
class State:
    """
    One state.

    :param reason: why; of HOLD and FAULT only.
    :param active: the node is activated.
    :param shadow: commands go to the shadow topic; the arm is not moved.
    :param pressed: the emergency stop was last heard to be pressed.
    """

    mode: Mode = Mode.UNCONFIGURED
    reason: Reason | None = None
    active: bool = False
    shadow: bool = False
    pressed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether an answer may lead to a command: frames are worth an inference."""
        if self.mode is Mode.HOLD:
            return self.active and self.reason is not None and self.reason.automatic
        return self.active and self.mode in (Mode.WAITING, Mode.RUNNING, Mode.SHADOW)

    @property
    def is_moving(self) -> bool:
        """Whether commands that move something are sent, be it to the shadow topic."""
        return self.mode in (Mode.RUNNING, Mode.SHADOW)

    @property
    def is_loaded(self) -> bool:
        """Whether a policy is there."""
        return self.mode in (Mode.WAITING, Mode.RUNNING, Mode.SHADOW, Mode.HOLD, Mode.ESTOP)


def advance(state: State, event: Event, reason: Reason | None = None,
            dry_start: bool = False) -> State:
    """
    Give the state that follows an event; an event that means nothing in a state changes nothing.

    :param reason: of PROBLEM: why the arm is to be held.
    :param dry_start: of ACTIVATE: begin in shadow.
    """
    return _TRANSITIONS[event](state, reason, dry_start)


def refuse_rearm(state: State) -> str:
    """Say why re-arming is refused; empty if it is not."""
    if state.pressed:
        return 'the emergency stop is still pressed: it must be released first'
    if state.mode is Mode.FAULT:
        return f'{state.reason}: a fault is ended by cleanup and configure, not by ~/rearm'
    if not state.is_loaded:
        return 'the node is not configured: there is nothing to re-arm'
    return ''


def _configure(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.is_loaded or state.mode is Mode.LOADING:
        return state
    return State(Mode.LOADING, pressed=state.pressed)


def _loaded(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.mode is not Mode.LOADING:
        return state
    # A button that was pressed while loading has stopped the node all the same.
    return replace(state, mode=Mode.ESTOP if state.pressed else Mode.WAITING)


def _load_failed(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.mode is not Mode.LOADING:
        return state
    return State(Mode.FAULT, Reason.NOT_LOADED, pressed=state.pressed)


def _cleanup(state: State, reason: Reason | None, dry_start: bool) -> State:
    return State(pressed=state.pressed)


def _activate(state: State, reason: Reason | None, dry_start: bool) -> State:
    if not state.is_loaded or state.active:
        return state
    return replace(state, active=True, shadow=dry_start)


def _deactivate(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.is_moving:
        state = replace(state, mode=Mode.WAITING)
    return replace(state, active=False)


def _answer(state: State, reason: Reason | None, dry_start: bool) -> State:
    if not state.is_open:
        return state
    return replace(state, mode=Mode.SHADOW if state.shadow else Mode.RUNNING, reason=None)


def _problem(state: State, reason: Reason | None, dry_start: bool) -> State:
    assert reason is not None, 'a problem has a reason'
    if not state.active or not (state.is_moving or state.mode in (Mode.WAITING, Mode.HOLD)):
        return state
    if state.mode is Mode.HOLD and state.reason is not None and not state.reason.automatic:
        return state  # what an operator has to look at is not overwritten by something lesser
    return replace(state, mode=Mode.HOLD, reason=reason)


def _interrupt(state: State, reason: Reason | None, dry_start: bool) -> State:
    # A changed instruction: what was computed is void, and so is what was wrong with it.
    if state.is_moving or state.mode is Mode.HOLD and state.is_open:
        return replace(state, mode=Mode.WAITING, reason=None)
    return state


def _estop_pressed(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.is_loaded:
        return replace(state, mode=Mode.ESTOP, reason=None, pressed=True)
    return replace(state, pressed=True)


def _estop_released(state: State, reason: Reason | None, dry_start: bool) -> State:
    return replace(state, pressed=False)


def _rearm(state: State, reason: Reason | None, dry_start: bool) -> State:
    if refuse_rearm(state):
        return state
    # After a stop or a hold the arm goes on as it was: an arm in shadow stays there. Only where
    # nothing else was to be ended does it mean "take the arm".
    if state.mode in (Mode.ESTOP, Mode.HOLD):
        return replace(state, mode=Mode.WAITING, reason=None)
    return replace(state, mode=Mode.WAITING, shadow=False)


def _hang(state: State, reason: Reason | None, dry_start: bool) -> State:
    if not state.is_loaded:
        return state
    return replace(state, mode=Mode.FAULT, reason=Reason.HANGING, active=False)


_TRANSITIONS = {
    Event.CONFIGURE: _configure,
    Event.LOADED: _loaded,
    Event.LOAD_FAILED: _load_failed,
    Event.CLEANUP: _cleanup,
    Event.ACTIVATE: _activate,
    Event.DEACTIVATE: _deactivate,
    Event.ANSWER: _answer,
    Event.PROBLEM: _problem,
    Event.INTERRUPT: _interrupt,
    Event.ESTOP_PRESSED: _estop_pressed,
    Event.ESTOP_RELEASED: _estop_released,
    Event.REARM: _rearm,
    Event.HANG: _hang,
}
