# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The one state machine: what the node is doing, why it stopped, and what lets it go on.

Pure: :func:`advance` is a function of a state and an event. The state's owner keeps it under
the lock that also guards sending, see :mod:`vla_ros.control.command_gate`.
"""

from dataclasses import dataclass
from dataclasses import replace
from enum import Enum

from vla_ros.robot.hold import Reason


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


class ControlMode(str, Enum):
    """Who moves the arm: the policy, nobody until ``~/resume``, or a teleoperator."""

    AUTONOMOUS = 'AUTONOMOUS'
    PAUSED = 'PAUSED'
    TAKEOVER = 'TAKEOVER'

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
    RESULT = 'result'
    PROBLEM = 'problem'
    INTERRUPT = 'interrupt'
    ESTOP_PRESSED = 'estop pressed'
    ESTOP_RELEASED = 'estop released'
    ESTOP_SETTLED = 'estop settled'
    REARM = 'rearm'
    TAKE_OVER = 'take over'
    PAUSE = 'pause'
    RESUME = 'resume'
    HANG = 'hang'
    FAIL = 'fail'


@dataclass(frozen=True)
class State:
    """
    One state.

    :param reason: why; of HOLD and FAULT only.
    :param active: the node is activated.
    :param shadow: commands go to the shadow topic; the arm is not moved.
    :param pressed: the emergency stop's last message was a press.
    :param stopped: it was pressed, and ``~/rearm`` has not ended that stop yet.
    :param awaiting: a message of it, or time for one, is needed before anything may move.
    :param control: who moves the arm.
    """

    mode: Mode = Mode.UNCONFIGURED
    reason: Reason | None = None
    active: bool = False
    shadow: bool = False
    pressed: bool = False
    stopped: bool = False
    awaiting: bool = False
    control: ControlMode = ControlMode.AUTONOMOUS

    @property
    def is_open(self) -> bool:
        """Whether a result may become a command, so that frames are inferred from."""
        return self.control is ControlMode.AUTONOMOUS and self._may_move

    @property
    def is_teleoperated(self) -> bool:
        """Whether a teleoperator's command may be sent."""
        return self.control is ControlMode.TAKEOVER and self._may_move

    @property
    def holds_gripper(self) -> bool:
        """Whether grippers stay at their command when the arm rests, as a hand-over needs."""
        return self.control is not ControlMode.AUTONOMOUS

    @property
    def is_held(self) -> bool:
        """Whether the arm is kept where it is."""
        return self.mode is Mode.HOLD

    @property
    def is_silent(self) -> bool:
        """Whether nothing is sent to the arm."""
        return (self.pressed or not (self.active or self.mode is Mode.FAULT)
                or self.mode in (Mode.ESTOP, Mode.LOADING))

    @property
    def is_moving(self) -> bool:
        """Whether commands that move something are sent, be it to the shadow topic."""
        return self.mode in (Mode.RUNNING, Mode.SHADOW)

    @property
    def is_loaded(self) -> bool:
        """Whether a policy is there."""
        return self.mode in (Mode.WAITING, Mode.RUNNING, Mode.SHADOW, Mode.HOLD, Mode.ESTOP)

    @property
    def _may_move(self) -> bool:
        if self.awaiting:
            return False
        if self.mode is Mode.HOLD:
            return self.active and self.reason is not None and self.reason.automatic
        return self.active and self.mode in (Mode.WAITING, Mode.RUNNING, Mode.SHADOW)


def advance(state: State, event: Event, reason: Reason | None = None,
            dry_start: bool = False) -> State:
    """
    Return the state that follows an event; an event that means nothing in a state changes nothing.

    :param reason: of PROBLEM: why the arm is to be held; of FAIL: why nothing works any more.
    :param dry_start: of ACTIVATE: begin in shadow.
    """
    return _TRANSITIONS[event](state, reason, dry_start)


def refuse_rearm(state: State) -> str:
    """Return why re-arming is refused; empty if it is not."""
    if state.pressed:
        return 'the emergency stop is still pressed: it must be released first'
    if state.mode is Mode.FAULT:
        return f'{state.reason}: a fault is ended by cleanup and configure, not by ~/rearm'
    if not state.is_loaded:
        return 'the node is not configured: there is nothing to re-arm'
    return ''


def _restarted(state: State) -> State:
    """Start anew; what is known of the emergency stop stays."""
    return State(pressed=state.pressed, stopped=state.stopped, awaiting=state.awaiting)


def _configure(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.is_loaded or state.mode is Mode.LOADING:
        return state
    return replace(_restarted(state), mode=Mode.LOADING)


def _loaded(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.mode is not Mode.LOADING:
        return state
    # A press that came while loading, or before, has stopped the node all the same.
    return replace(state, mode=Mode.ESTOP if state.stopped or state.pressed else Mode.WAITING)


def _load_failed(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.mode is not Mode.LOADING:
        return state
    return replace(_restarted(state), mode=Mode.FAULT, reason=Reason.NOT_LOADED)


def _cleanup(state: State, reason: Reason | None, dry_start: bool) -> State:
    return _restarted(state)


def _activate(state: State, reason: Reason | None, dry_start: bool) -> State:
    if not state.is_loaded or state.active:
        return state
    return replace(state, active=True, shadow=dry_start)


def _deactivate(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.is_moving:
        state = replace(state, mode=Mode.WAITING)
    return replace(_given_up(state), active=False)


def _result(state: State, reason: Reason | None, dry_start: bool) -> State:
    if not (state.is_open or state.is_teleoperated):
        return state
    return replace(state, mode=Mode.SHADOW if state.shadow else Mode.RUNNING, reason=None)


def _problem(state: State, reason: Reason | None, dry_start: bool) -> State:
    assert reason is not None, 'a problem has a reason'
    if not state.active or not (state.is_moving or state.mode in (Mode.WAITING, Mode.HOLD)):
        return state
    if state.mode is Mode.HOLD and state.reason is not None and not state.reason.automatic \
            and (state.reason is not Reason.TASK_ENDED or reason.automatic):
        return state  # a hold that needs an operator is not overwritten by a lesser one
    return replace(state, mode=Mode.HOLD, reason=reason)


def _interrupt(state: State, reason: Reason | None, dry_start: bool) -> State:
    # A changed instruction: the result under way is stale, and so is a problem with it. It
    # concerns no teleoperator.
    return _ended(state) if state.control is ControlMode.AUTONOMOUS else state


def _ended(state: State) -> State:
    """End the motion, and a problem with it that needs no operator."""
    if state.is_moving or state.mode is Mode.HOLD and state._may_move:
        return replace(state, mode=Mode.WAITING, reason=None)
    return state


def _given_up(state: State) -> State:
    """End a takeover; the deadman has to be released and pressed anew."""
    is_taken_over = state.control is ControlMode.TAKEOVER
    return replace(state, control=ControlMode.PAUSED) if is_taken_over else state


def _take_over(state: State, reason: Reason | None, dry_start: bool) -> State:
    can_move = state.is_moving or state.mode in (Mode.WAITING, Mode.HOLD)
    if not state.active or not can_move or state.control is ControlMode.TAKEOVER:
        return state
    return replace(_ended(state), control=ControlMode.TAKEOVER)


def _pause(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.control is not ControlMode.TAKEOVER:
        return state
    return _given_up(_ended(state))


def _resume(state: State, reason: Reason | None, dry_start: bool) -> State:
    if state.control is not ControlMode.PAUSED:
        return state
    return replace(_ended(state), control=ControlMode.AUTONOMOUS)


def _estop_pressed(state: State, reason: Reason | None, dry_start: bool) -> State:
    state = replace(_given_up(state), pressed=True, stopped=True)
    return replace(state, mode=Mode.ESTOP, reason=None) if state.is_loaded else state


def _estop_released(state: State, reason: Reason | None, dry_start: bool) -> State:
    return replace(state, pressed=False)


def _estop_settled(state: State, reason: Reason | None, dry_start: bool) -> State:
    return replace(state, awaiting=False)


def _rearm(state: State, reason: Reason | None, dry_start: bool) -> State:
    if refuse_rearm(state):
        return state
    state = replace(state, stopped=False)
    # After a stop or a hold the arm goes on as it was: an arm in shadow stays there. Only where
    # nothing else was to be ended does it mean "take the arm".
    if state.mode in (Mode.ESTOP, Mode.HOLD):
        return replace(state, mode=Mode.WAITING, reason=None)
    return replace(state, mode=Mode.WAITING, shadow=False)


def _hang(state: State, reason: Reason | None, dry_start: bool) -> State:
    return _fail(state, Reason.HANGING)


def _fail(state: State, reason: Reason | None, dry_start: bool = False) -> State:
    if not state.is_loaded:
        return state
    return replace(_given_up(state), mode=Mode.FAULT, reason=reason, active=False)


_TRANSITIONS = {
    Event.CONFIGURE: _configure,
    Event.LOADED: _loaded,
    Event.LOAD_FAILED: _load_failed,
    Event.CLEANUP: _cleanup,
    Event.ACTIVATE: _activate,
    Event.DEACTIVATE: _deactivate,
    Event.RESULT: _result,
    Event.PROBLEM: _problem,
    Event.INTERRUPT: _interrupt,
    Event.ESTOP_PRESSED: _estop_pressed,
    Event.ESTOP_RELEASED: _estop_released,
    Event.ESTOP_SETTLED: _estop_settled,
    Event.REARM: _rearm,
    Event.TAKE_OVER: _take_over,
    Event.PAUSE: _pause,
    Event.RESUME: _resume,
    Event.HANG: _hang,
    Event.FAIL: _fail,
}
