# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Transitions of every state with every event, compared with a table and with safety rules."""

from dataclasses import replace
from itertools import product

import pytest
from vla_ros.robot.hold import Reason
from vla_ros.safety.state_machine import advance
from vla_ros.safety.state_machine import ControlMode
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import refuse_rearm
from vla_ros.safety.state_machine import State

STALE = Reason.STALE_IMAGE  # left automatically
JUMP = Reason.JUMP  # left by ~/rearm only

# Columns: an active node in that mode, autonomous, not in shadow, emergency stop not pressed.
# Rows: events. Cells: the mode that follows.
# '-' means that nothing changes, 'off' the same mode, deactivated. PROBLEM is a stale image; a
# hold has either reason.
TABLE = """
event          UNCONF  LOADING WAITING RUNNING SHADOW  HOLDauto HOLDexpl ESTOP   FAULT
configure      LOADING -       -       -       -       -        -        -       LOADING
loaded         -       WAITING -       -       -       -        -        -       -
load failed    -       FAULT   -       -       -       -        -        -       -
cleanup        -       UNCONF  UNCONF  UNCONF  UNCONF  UNCONF   UNCONF   UNCONF  UNCONF
activate       -       -       -       -       -       -        -        -       -
deactivate     off     off     off     WAITING WAITING off      off      off     off
result         -       -       RUNNING -       -       RUNNING  -        -       -
problem        -       -       HOLD    HOLD    HOLD    -        -        -       -
interrupt      -       -       -       WAITING WAITING WAITING  -        -       -
estop pressed  pressed pressed ESTOP   ESTOP   ESTOP   ESTOP    ESTOP    ESTOP   pressed
estop released -       -       -       -       -       -        -        -       -
estop settled  -       -       -       -       -       -        -        -       -
rearm          -       -       -       WAITING WAITING WAITING  WAITING  WAITING -
take over      -       -       -       WAITING WAITING WAITING  -        -       -
pause          -       -       -       -       -       -        -        -       -
resume         -       -       -       -       -       -        -        -       -
hang           -       -       FAULT   FAULT   FAULT   FAULT    FAULT    FAULT   -
fail           -       -       FAULT   FAULT   FAULT   FAULT    FAULT    FAULT   -
"""
STATES = {
    'UNCONF': State(), 'LOADING': State(Mode.LOADING), 'WAITING': State(Mode.WAITING, active=True),
    'RUNNING': State(Mode.RUNNING, active=True),
    'SHADOW': State(Mode.SHADOW, active=True, shadow=True),
    'HOLDauto': State(Mode.HOLD, STALE, active=True),
    'HOLDexpl': State(Mode.HOLD, JUMP, active=True), 'ESTOP': State(Mode.ESTOP, active=True),
    'FAULT': State(Mode.FAULT, Reason.NOT_LOADED)}
ALL_STATES = [State(mode, reason, *flags)
              for mode, *flags in product(Mode, *[(False, True)] * 5, ControlMode)
              for reason in (Reason if mode in (Mode.HOLD, Mode.FAULT) else [None])]
# Columns: the control mode of an active node that is RUNNING. Rows: events. Cells: the control
# mode that follows.
CONTROL_TABLE = """
event          AUTONOMOUS TAKEOVER   PAUSED
take over      TAKEOVER   -          TAKEOVER
pause          -          PAUSED     -
resume         -          -          AUTONOMOUS
result         -          -          -
problem        -          -          -
interrupt      -          -          -
deactivate     -          PAUSED     -
estop pressed  -          PAUSED     -
estop released -          -          -
estop settled  -          -          -
rearm          -          -          -
activate       -          -          -
configure      -          -          -
loaded         -          -          -
load failed    -          -          -
hang           -          PAUSED     -
fail           -          PAUSED     -
cleanup        -          AUTONOMOUS AUTONOMOUS
"""


def _rows():
    header, *lines = TABLE.strip().splitlines()
    columns = header.split()[1:]
    for line in lines:
        event = Event(line[:15].strip())
        cells = line[15:].split()
        assert len(cells) == len(columns)
        yield from ((name, event, cell) for name, cell in zip(columns, cells))


@pytest.mark.parametrize(('name', 'event', 'cell'), list(_rows()))
def test_an_event_leads_to_the_state_of_the_table(name, event, cell):
    state = STATES[name]
    reasons = {Event.PROBLEM: STALE, Event.FAIL: Reason.DEVICE_ERROR}
    after = advance(state, event, reasons.get(event))
    if cell == '-':
        assert replace(after, control=state.control) == state
    elif cell == 'off':
        assert (after.mode, after.reason, after.active) == (state.mode, state.reason, False)
    elif cell == 'pressed':
        assert (after.mode, after.reason, after.pressed) == (state.mode, state.reason, True)
    else:
        assert after.mode is (Mode.UNCONFIGURED if cell == 'UNCONF' else Mode(cell))


def _control_rows():
    header, *lines = CONTROL_TABLE.strip().splitlines()
    for line in lines:
        yield from ((ControlMode(name), Event(line[:15].strip()), cell)
                    for name, cell in zip(header.split()[1:], line[15:].split()))


@pytest.mark.parametrize(('control', 'event', 'cell'), list(_control_rows()))
def test_an_event_leads_to_the_control_mode_of_the_table(control, event, cell):
    state = State(Mode.RUNNING, active=True, control=control)
    after = advance(state, event, STALE)
    assert after.control is (control if cell == '-' else ControlMode(cell))


def test_the_tables_have_every_event_and_mode():
    assert {event for _, event, _ in _control_rows()} == set(Event)
    assert {event for _, event, _ in _rows()} == set(Event)
    assert {STATES[name].mode for name, _, _ in _rows()} == set(Mode)


@pytest.mark.parametrize('event', Event)
def test_an_event_in_any_state_keeps_the_safety_rules(event):
    reasons = Reason if event in (Event.PROBLEM, Event.FAIL) else (None,)
    for state, reason, dry in product(ALL_STATES, reasons, (False, True)):
        after = advance(state, event, reason, dry)
        # Only a result starts a motion, and only where it may lead to a command.
        if after.is_moving and not state.is_moving:
            assert event is Event.RESULT and (state.is_open or state.is_teleoperated)
        # Nothing moves while the emergency stop is pressed.
        if event is Event.ESTOP_PRESSED:
            assert after.pressed and not after.is_moving and not after.is_open
            assert not after.is_teleoperated
        # Policy and teleoperator never move the arm together. Only the deadman begins a takeover,
        # and only the operator resumes the policy.
        assert not (after.is_open and after.is_teleoperated)
        if after.control is not state.control:
            assert (after.control is ControlMode.PAUSED or event in (
                Event.TAKE_OVER, Event.RESUME, Event.CLEANUP, Event.CONFIGURE, Event.LOAD_FAILED))
            assert not after.is_moving
        # Only a release ends a press.
        if state.pressed and not after.pressed:
            assert event is Event.ESTOP_RELEASED
        # An emergency stop ends by rearm, cleanup or a fault; a hold for the operator likewise.
        is_latched = state.mode is Mode.ESTOP or (
            state.mode is Mode.HOLD and not state.reason.automatic)
        if is_latched and after.mode is not state.mode and event is not Event.ESTOP_PRESSED:
            assert event in (Event.REARM, Event.CLEANUP, Event.HANG, Event.FAIL)
        # A stopped node stays stopped, also after cleanup and loading, until the rearm.
        if state.stopped and not after.stopped:
            assert event is Event.REARM and not state.pressed
        # Nothing moves before the emergency stop has settled.
        if state.awaiting:
            assert not state.is_open and not state.is_teleoperated
            assert after.awaiting or event is Event.ESTOP_SETTLED
        # Only the operator, or a new configuration, ends shadow.
        if state.shadow and not after.shadow:
            assert event in (Event.REARM, Event.CLEANUP, Event.CONFIGURE, Event.ACTIVATE,
                             Event.LOAD_FAILED)
        # Holds and faults have a reason, other modes have none.
        if (state.reason is not None) == (state.mode in (Mode.HOLD, Mode.FAULT)):
            assert (after.reason is not None) == (after.mode in (Mode.HOLD, Mode.FAULT))


def test_dry_start_runs_in_shadow_until_the_operator_takes_the_arm():
    state = advance(State(Mode.WAITING), Event.ACTIVATE, dry_start=True)
    state = advance(state, Event.RESULT)
    assert state.mode is Mode.SHADOW
    state = advance(advance(state, Event.REARM), Event.RESULT)
    assert state.mode is Mode.RUNNING


def test_rearm_after_a_stop_in_shadow_returns_to_shadow():
    state = State(Mode.SHADOW, active=True, shadow=True)
    for event in (Event.ESTOP_PRESSED, Event.ESTOP_RELEASED, Event.REARM, Event.RESULT):
        state = advance(state, event)
    assert state.mode is Mode.SHADOW


def test_a_press_while_loading_stops_the_loaded_node():
    for state in (State(Mode.LOADING, pressed=True), State(Mode.LOADING, stopped=True)):
        assert advance(state, Event.LOADED).mode is Mode.ESTOP


def test_rearm_is_refused_with_a_reason_exactly_where_it_has_no_effect():
    for state in ALL_STATES:
        if refuse_rearm(state):
            assert advance(state, Event.REARM) == state
        else:
            assert advance(state, Event.REARM).mode is Mode.WAITING


def test_a_hold_for_the_operator_is_not_overwritten():
    state = State(Mode.HOLD, Reason.JUMP, active=True)
    assert advance(state, Event.PROBLEM, Reason.STALE_IMAGE) == state
    assert advance(State(Mode.HOLD, Reason.STALE_IMAGE, active=True), Event.PROBLEM,
                   Reason.JUMP).reason is Reason.JUMP


def test_a_takeover_moves_until_its_pause():
    state = State(Mode.RUNNING, active=True)
    state = advance(state, Event.TAKE_OVER)
    assert state.is_teleoperated and not state.is_open and not state.is_moving
    state = advance(state, Event.RESULT)
    assert state.mode is Mode.RUNNING and state.is_teleoperated
    state = advance(state, Event.PAUSE)
    assert not state.is_moving and not state.is_teleoperated and not state.is_open
    assert not advance(state, Event.RESULT).is_moving
    state = advance(advance(state, Event.RESUME), Event.RESULT)
    assert state == State(Mode.RUNNING, active=True)


def test_a_takeover_does_not_replace_a_rearm_by_the_operator():
    state = advance(State(Mode.HOLD, Reason.JUMP, active=True), Event.TAKE_OVER)
    assert state.reason is Reason.JUMP and not state.is_teleoperated
    assert advance(state, Event.REARM).is_teleoperated


def test_an_inactive_node_is_not_taken_over():
    for state in (State(Mode.WAITING), State(Mode.ESTOP, active=True),
                  State(Mode.FAULT, Reason.HANGING)):
        assert advance(state, Event.TAKE_OVER) == state
