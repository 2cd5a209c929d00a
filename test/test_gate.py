# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Nothing gets out after what should have kept it in."""

import threading

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros.gate import Gate
from vla_ros.safety.gates import Held
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import Reason

DEADLINE = 20.0


def open_gate():
    """Give a gate that lets commands out."""
    gate = Gate('task 1')
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
        gate.handle(event)
    return gate


def stop(gate):
    return gate.handle(Event.ESTOP_PRESSED)


def release(gate):
    return gate.handle(Event.ESTOP_RELEASED)


def deactivate(gate):
    return gate.handle(Event.DEACTIVATE)


def activate(gate):
    return gate.handle(Event.ACTIVATE)


def hold(gate):
    return gate.problem(Held(Reason.STALE_IMAGE, 'too old'))


def test_an_open_gate_sends():
    """And says so."""
    gate, sent = open_gate(), []
    assert gate.send(gate.order, lambda: sent.append(1))
    assert sent == [1]


@pytest.mark.parametrize('change', [
    lambda gate: gate.instruct('task 2'), lambda gate: gate.instruct(''), deactivate,
    stop, hold, lambda gate: (stop(gate), release(gate), gate.rearm()),
    lambda gate: (deactivate(gate), activate(gate)),
    lambda gate: (gate.instruct('task 2'), gate.instruct('task 1'))])
def test_a_change_voids_what_was_under_way(change):
    """Even where commands may be sent again by the time it is ready."""
    gate = open_gate()
    order = gate.order
    change(gate)
    assert not gate.send(order, lambda: pytest.fail('it was sent'))


@pytest.mark.parametrize('repeat', [lambda gate: gate.instruct('task 1'), release,
                                    activate])
def test_repeating_what_is_known_voids_nothing(repeat):
    """Some senders repeat themselves many times a second."""
    gate = open_gate()
    order = gate.order
    assert not repeat(gate)
    assert gate.send(order, lambda: None)


def test_versions_count_the_changes_of_the_instruction():
    """And nothing else."""
    gate = open_gate()
    assert gate.order.version == 0
    gate.instruct('task 2')
    stop(gate)
    gate.instruct('task 3')
    assert (gate.order.instruction, gate.order.version) == ('task 3', 2)


def test_a_stop_must_be_released_and_rearmed():
    """In this order."""
    gate = open_gate()
    assert stop(gate)
    assert not stop(gate)
    assert not gate.order.is_open
    assert 'pressed' in gate.rearm()
    assert release(gate)
    assert not gate.order.is_open
    assert gate.rearm() == ''
    assert gate.order.is_open


@given(st.lists(st.sampled_from(['stop', 'release', 'rearm', 'activate', 'deactivate', 'task',
                                 'hold'])))
def test_after_a_stop_only_a_rearm_after_a_release_opens(events):
    """Whatever else happens, in any order."""
    gate = open_gate()
    stop(gate)
    pressed, stopped, active = True, True, True
    for event in events:
        {'stop': stop, 'release': release, 'rearm': Gate.rearm, 'activate': activate,
         'deactivate': deactivate, 'hold': hold,
         'task': lambda gate: gate.instruct('task 2')}[event](gate)
        pressed = {'stop': True, 'release': False}.get(event, pressed)
        stopped = event == 'stop' or stopped and not (event == 'rearm' and not pressed)
        active = {'activate': True, 'deactivate': False}.get(event, active)
        assert gate.order.is_open == (active and not stopped)


@given(st.lists(st.sampled_from([hold, stop, release, Gate.rearm, deactivate, activate,
                                 lambda gate: gate.send(gate.order, list),
                                 lambda gate: gate.instruct(f'task {gate.order.version}')])))
def test_nothing_computed_before_a_stop_is_sent_after_it(changes):
    """Whatever happens in between, and whether or not the gate is open again by then."""
    gate = open_gate()
    gate.send(gate.order, lambda: None)
    before = gate.order
    assert stop(gate)
    for change in changes:
        change(gate)
        assert not gate.send(before, lambda: pytest.fail('it was sent'))


def test_a_problem_of_what_became_void_is_none():
    """Its instruction was changed while it was computed."""
    gate = open_gate()
    order = gate.order
    gate.instruct('task 2')
    assert not gate.problem(Held(Reason.POLICY_ERROR, 'too late'), order)
    assert gate.order.state.mode is Mode.WAITING


def test_the_next_good_answer_ends_an_automatic_hold_and_no_other():
    """An operator has to look at a jump first."""
    gate = open_gate()
    hold(gate)
    assert gate.send(gate.order, lambda: None)
    assert gate.order.state.mode is Mode.RUNNING
    gate.problem(Held(Reason.JUMP, 'too far'))
    assert not gate.send(gate.order, lambda: pytest.fail('it was sent'))
    assert gate.rearm() == ''
    assert gate.send(gate.order, lambda: None)


def test_a_problem_in_a_tick_holds_within_it():
    """And what is sent then holds the arm."""
    gate, modes = open_gate(), []
    gate.send(gate.order, lambda: None)

    def act(order):
        modes.append(order.state.mode)
        return Held(Reason.STALE_JOINTS, 'silence') if order.state.is_moving else None

    assert gate.tick(act)
    assert modes == [Mode.RUNNING, Mode.HOLD]
    assert not gate.tick(act)


def test_dry_start_and_shadow():
    """One is left by the operator, the other is not."""
    for is_shadow, mode in ((False, Mode.RUNNING), (True, Mode.SHADOW)):
        gate = Gate('task', dry_start=True, is_shadow=is_shadow)
        for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
            gate.handle(event)
        gate.send(gate.order, lambda: None)
        assert gate.order.state.mode is Mode.SHADOW
        assert ('stays in shadow' in gate.rearm()) == is_shadow
        stop(gate)
        release(gate)
        assert gate.rearm() == ''
        gate.send(gate.order, lambda: None)
        assert gate.order.state.mode is mode


def test_a_change_waits_for_what_is_being_sent():
    """So when the change has returned, nothing of before is still on its way out."""
    gate = open_gate()
    sending, go_on, events = threading.Event(), threading.Event(), []

    def publish():
        sending.set()
        assert go_on.wait(DEADLINE)
        events.append('sent')

    sender = threading.Thread(target=gate.send, args=(gate.order, publish))
    sender.start()
    assert sending.wait(DEADLINE)
    stopper = threading.Thread(target=lambda: (stop(gate), events.append('stopped')))
    stopper.start()
    assert not stopper.join(0.05)
    go_on.set()
    sender.join(DEADLINE)
    stopper.join(DEADLINE)
    assert events == ['sent', 'stopped']


class Button:
    """Says what it was told to, once each."""

    def __init__(self):
        self.words = []

    def __call__(self):
        return self.words.pop(0) if self.words else None


@pytest.fixture
def button():
    """Give a button, which stands beside :func:`pushed`'s gate."""
    return Button()


@pytest.fixture
def pushed(button):
    """Give an open gate whose button nobody waits for."""
    gate = Gate('task', read_button=button)
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
        gate.handle(event)
    return gate


def test_who_sends_looks_at_the_button_first(pushed, button):
    """A press that no thread has woken up for stops what is sent all the same."""
    order = pushed.order
    button.words = [True]
    assert not pushed.send(order, lambda: pytest.fail('it was sent'))
    assert pushed.order.state.mode is Mode.ESTOP


def test_a_tick_looks_at_the_button_first_and_last(pushed, button):
    """Also at what came while it computed."""
    seen = []

    def act(order):
        seen.append(order.state.mode)
        button.words = [True]
        assert not pushed.may_send()

    pushed.send(pushed.order, lambda: None)
    assert pushed.tick(act)
    assert seen == [Mode.RUNNING] and pushed.order.state.mode is Mode.ESTOP
    button.words = [False]
    assert pushed.tick(lambda order: seen.append(order.state.pressed))
    assert seen[-1] is False and pushed.order.state.mode is Mode.ESTOP
    assert not pushed.tick(lambda order: None)


def test_the_button_is_heard_in_its_order(pushed, button):
    """Pressed and released, it stays an emergency stop."""
    button.words = [True, False]
    assert pushed.hear() and pushed.hear() and not pushed.hear()
    assert pushed.order.state.mode is Mode.ESTOP and not pushed.order.state.pressed
