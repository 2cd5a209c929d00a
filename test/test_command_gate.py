# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Nothing gets out after what should have kept it in."""

import threading

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros.control.command_gate import CommandGate
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety import emergency_stop
from vla_ros.safety.emergency_stop import EmergencyStop
from vla_ros.safety.emergency_stop import EstopSample
from vla_ros.safety.emergency_stop import EstopTopicState
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Mode

DEADLINE = 20.0


def open_gate():
    """Return a gate that lets commands out."""
    gate = CommandGate('task 1')
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
    return gate.problem(Hold(Reason.STALE_IMAGE, 'too old'))


def test_an_open_gate_sends_commands():
    """And says so."""
    gate, sent = open_gate(), []
    assert gate.send(gate.context, lambda: sent.append(1))
    assert sent == [1]


@pytest.mark.parametrize('change', [
    lambda gate: gate.instruct('task 2'), lambda gate: gate.instruct(''), deactivate,
    stop, hold, lambda gate: (stop(gate), release(gate), gate.rearm()),
    lambda gate: (deactivate(gate), activate(gate)),
    lambda gate: (gate.instruct('task 2'), gate.instruct('task 1'))])
def test_a_change_makes_running_inferences_stale(change):
    """Even where commands may be sent again by the time it is ready."""
    gate = open_gate()
    context = gate.context
    change(gate)
    assert not gate.send(context, lambda: pytest.fail('it was sent'))


@pytest.mark.parametrize('repeat', [lambda gate: gate.instruct('task 1'), release,
                                    activate])
def test_an_unchanged_instruction_makes_nothing_stale(repeat):
    """Some senders repeat themselves many times a second."""
    gate = open_gate()
    context = gate.context
    assert not repeat(gate)
    assert gate.send(context, lambda: None)


def test_versions_count_the_changes_of_the_instruction():
    """And nothing else."""
    gate = open_gate()
    assert gate.context.version == 0
    gate.instruct('task 2')
    stop(gate)
    gate.instruct('task 3')
    assert (gate.context.instruction, gate.context.version) == ('task 3', 2)


def test_a_stop_must_be_released_and_rearmed():
    """In this order."""
    gate = open_gate()
    assert stop(gate)
    assert not stop(gate)
    assert not gate.context.is_open
    assert 'pressed' in gate.rearm()
    assert release(gate)
    assert not gate.context.is_open
    assert gate.rearm() == ''
    assert gate.context.is_open


@given(st.lists(st.sampled_from(['stop', 'release', 'rearm', 'activate', 'deactivate', 'task',
                                 'hold'])))
def test_after_a_stop_only_a_rearm_after_the_release_reopens_the_gate(events):
    """Whatever else happens, in any order."""
    gate = open_gate()
    stop(gate)
    pressed, stopped, active = True, True, True
    for event in events:
        {'stop': stop, 'release': release, 'rearm': CommandGate.rearm, 'activate': activate,
         'deactivate': deactivate, 'hold': hold,
         'task': lambda gate: gate.instruct('task 2')}[event](gate)
        pressed = {'stop': True, 'release': False}.get(event, pressed)
        stopped = event == 'stop' or stopped and not (event == 'rearm' and not pressed)
        active = {'activate': True, 'deactivate': False}.get(event, active)
        assert gate.context.is_open == (active and not stopped)


@given(st.lists(st.sampled_from([hold, stop, release, CommandGate.rearm, deactivate, activate,
                                 lambda gate: gate.send(gate.context, list),
                                 lambda gate: gate.instruct(f'task {gate.context.version}')])))
def test_nothing_computed_before_a_stop_is_sent_after_it(changes):
    """Whatever happens in between, and whether or not the gate is open again by then."""
    gate = open_gate()
    gate.send(gate.context, lambda: None)
    before = gate.context
    assert stop(gate)
    for change in changes:
        change(gate)
        assert not gate.send(before, lambda: pytest.fail('it was sent'))


def test_a_failure_of_a_stale_inference_is_ignored():
    """Its instruction was changed while it was computed."""
    gate = open_gate()
    context = gate.context
    gate.instruct('task 2')
    assert not gate.problem(Hold(Reason.POLICY_ERROR, 'too late'), context)
    assert gate.context.state.mode is Mode.WAITING


def test_the_next_good_result_ends_an_automatic_hold_and_no_other():
    """An operator has to look at a jump first."""
    gate = open_gate()
    hold(gate)
    assert gate.send(gate.context, lambda: None)
    assert gate.context.state.mode is Mode.RUNNING
    gate.problem(Hold(Reason.JUMP, 'too far'))
    assert not gate.send(gate.context, lambda: pytest.fail('it was sent'))
    assert gate.rearm() == ''
    assert gate.send(gate.context, lambda: None)


def test_a_problem_in_a_tick_holds_in_the_same_tick():
    """And what is sent then holds the arm."""
    gate, modes = open_gate(), []
    gate.send(gate.context, lambda: None)

    def act(context):
        modes.append(context.state.mode)
        return Hold(Reason.STALE_JOINTS, 'silence') if context.state.is_moving else None

    assert gate.tick(act)
    assert modes == [Mode.RUNNING, Mode.HOLD]
    assert not gate.tick(act)


def test_dry_start_and_shadow():
    """One is left by the operator, the other is not."""
    for is_shadow, mode in ((False, Mode.RUNNING), (True, Mode.SHADOW)):
        gate = CommandGate('task', dry_start=True, is_shadow=is_shadow)
        for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
            gate.handle(event)
        gate.send(gate.context, lambda: None)
        assert gate.context.state.mode is Mode.SHADOW
        assert ('stays in shadow' in gate.rearm()) == is_shadow
        stop(gate)
        release(gate)
        assert gate.rearm() == ''
        gate.send(gate.context, lambda: None)
        assert gate.context.state.mode is mode


def test_shadow_is_entered_and_left_through_a_hold():
    gate = open_gate()
    gate.send(gate.context, lambda: None)
    old = gate.context
    assert gate.set_shadow(True) == ''
    state = gate.context.state
    # The arm brakes first, on its own topic.
    assert (state.mode, state.reason, state.shadow) == (Mode.HOLD, Reason.OPERATOR, False)
    assert not gate.send(old, pytest.fail)
    assert not gate.send(gate.context, pytest.fail)
    for _ in range(2):
        assert gate.rearm() == ''
        gate.send(gate.context, lambda: None)
        assert gate.context.state.mode is Mode.SHADOW
        # No second press of the same button takes the arm.
        assert 'call ~/shadow with false' in gate.rearm()
        stop(gate)
        release(gate)
    assert gate.rearm() == ''
    gate.send(gate.context, lambda: None)
    assert gate.set_shadow(False) == ''
    state = gate.context.state
    assert (state.mode, state.shadow) == (Mode.HOLD, False)
    assert not gate.send(gate.context, pytest.fail)
    assert gate.rearm() == ''
    gate.send(gate.context, lambda: None)
    assert gate.context.state.mode is Mode.RUNNING


def test_a_node_that_is_not_active_begins_in_the_shadow_that_was_asked_for():
    gate = CommandGate('task')
    assert gate.set_shadow(True) == ''
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
        gate.handle(event)
    gate.send(gate.context, lambda: None)
    assert gate.context.state.mode is Mode.SHADOW
    assert 'call ~/shadow' in gate.rearm()


def test_a_dry_start_that_was_asked_to_stay_is_not_ended_by_rearm():
    gate = CommandGate('task', dry_start=True)
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
        gate.handle(event)
    gate.send(gate.context, lambda: None)
    epoch = gate.context.epoch
    assert gate.set_shadow(True) == '' and gate.context.epoch == epoch
    assert 'call ~/shadow' in gate.rearm()


def test_the_parameter_keeps_it_in_shadow():
    gate = CommandGate('task', is_shadow=True)
    assert 'safety.shadow is set' in gate.set_shadow(False)
    assert gate.set_shadow(True) == ''


def test_a_change_waits_for_what_is_being_sent():
    """So when the change has returned, nothing of before is still on its way out."""
    gate = open_gate()
    sending, go_on, events = threading.Event(), threading.Event(), []

    def publish():
        sending.set()
        assert go_on.wait(DEADLINE)
        events.append('sent')

    sender = threading.Thread(target=gate.send, args=(gate.context, publish))
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
    """Publishes what it was told to, once each."""

    def __init__(self):
        self.words = []

    def __call__(self):
        words, self.words = self.words, []
        return [EstopSample(word, b'button') for word in words]


@pytest.fixture
def button():
    """Return a button, which stands beside :func:`pushed`'s gate."""
    return Button()


@pytest.fixture
def pushed(button):
    """Return an open gate whose button nobody waits for."""
    gate = CommandGate('task', stop=EmergencyStop(button))
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE, Event.ESTOP_SETTLED):
        gate.handle(event)
    return gate


def test_the_sender_polls_the_emergency_stop_first(pushed, button):
    """A press that no thread has woken up for stops what is sent all the same."""
    context = pushed.context
    button.words = [True]
    assert not pushed.send(context, lambda: pytest.fail('it was sent'))
    assert pushed.context.state.mode is Mode.ESTOP


def test_a_tick_polls_the_emergency_stop_first_and_last(pushed, button):
    """Also what came while it computed."""
    seen = []

    def act(context):
        seen.append(context.state.mode)
        button.words = [True]
        assert not pushed.may_send()

    pushed.send(pushed.context, lambda: None)
    assert pushed.tick(act)
    assert seen == [Mode.RUNNING] and pushed.context.state.mode is Mode.ESTOP
    button.words = [False]
    assert pushed.tick(lambda context: seen.append(context.state.pressed))
    assert seen[-1] is False and pushed.context.state.mode is Mode.ESTOP
    assert not pushed.tick(lambda context: None)


@pytest.mark.parametrize('words', [[True, False], [False, True, False], [True, False, False]])
def test_a_press_that_was_released_when_it_is_polled_stops(pushed, button, words):
    """It stays an emergency stop, which only a rearm ends."""
    button.words = words
    assert pushed.poll() and not pushed.poll()
    assert pushed.context.state.mode is Mode.ESTOP and not pushed.context.state.pressed
    assert pushed.rearm() == '' and pushed.context.is_open


def test_a_rearm_polls_first(pushed, button):
    """A press that has just come is not overlooked."""
    pushed.handle(Event.DEACTIVATE)
    button.words = [True]
    assert 'still pressed' in pushed.rearm(EstopTopicState(((b'button', '/button'),)))


def test_a_press_outlives_its_publisher_until_the_rearm(pushed, button):
    """And the status says so."""
    button.words = [True]
    assert pushed.poll()
    here = EstopTopicState(((b'button', '/button'),))
    assert 'pressed by /button' in pushed.rearm(here)
    assert not pushed.observe(here)
    assert pushed.observe(EstopTopicState()) and 'gone' in pushed.context.detail
    assert pushed.context.state.mode is Mode.ESTOP and pushed.context.state.pressed
    assert pushed.rearm(EstopTopicState()) == '' and pushed.context.is_open


def test_a_press_before_loading_stops_the_node_once_loaded(button, monkeypatch):
    """Also if it was released by then, and whatever failed in between."""
    monkeypatch.setattr(emergency_stop, 'SETTLE_TIME', 0.0)
    gate = CommandGate('task', stop=EmergencyStop(button))
    button.words = [True, False]
    assert gate.poll()
    for event in (Event.CONFIGURE, Event.LOAD_FAILED, Event.CLEANUP, Event.CONFIGURE,
                  Event.LOADED, Event.ACTIVATE):
        gate.handle(event)
    assert gate.context.state.mode is Mode.ESTOP and not gate.context.is_open
    assert gate.rearm() == '' and gate.context.is_open


def test_a_stop_publisher_with_incompatible_qos_forbids_activation_and_holds(pushed):
    """Left by a rearm only, once that publisher is gone."""
    mismatch = EstopTopicState(((b'deaf', '/deaf'),), '/deaf offers something else')
    assert pushed.observe(mismatch)
    assert not pushed.observe(mismatch)
    assert pushed.context.state.reason is Reason.ESTOP_MISFIT and not pushed.context.is_open
    assert '/deaf' in pushed.rearm(mismatch)
    pushed.handle(Event.DEACTIVATE)
    assert '/deaf' in pushed.activate()
    assert not pushed.context.state.active
    pushed.observe(EstopTopicState())
    assert pushed.activate() == '' and pushed.context.state.mode is Mode.HOLD
    assert pushed.rearm(EstopTopicState()) == '' and pushed.context.is_open


def test_a_required_emergency_stop_opens_the_gate(button, monkeypatch):
    """Not before it was heard; what it releases is nothing that was pressed."""
    monkeypatch.setattr(emergency_stop, 'SETTLE_TIME', 0.0)
    gate = CommandGate('task', stop=EmergencyStop(button, is_required=True))
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
        gate.handle(event)
    assert not gate.send(gate.context, lambda: pytest.fail('it was sent'))
    button.words = [False]
    assert gate.poll() and gate.send(gate.context, lambda: None)


def test_a_fatal_error_is_a_fault_even_in_a_stale_inference():
    """An error of the device concerns whatever is computed next."""
    gate = open_gate()
    context = gate.context
    gate.instruct('task 2')
    assert gate.problem(Hold(Reason.DEVICE_ERROR, 'CUDA error'), context)
    assert gate.context.state.mode is Mode.FAULT and not gate.context.state.active
    assert 'cleanup' in gate.rearm()


def test_the_latched_message_of_a_new_stop_publisher_is_awaited_before_the_first_command(
        pushed, button):
    """Discovery may be late; later on a new publisher does not disturb the motion."""
    late = EstopTopicState(((b'button', '/button'),), latched=(b'button',))
    assert pushed.observe(late)
    assert not pushed.send(pushed.context, lambda: pytest.fail('it was sent'))
    button.words = [True]
    pushed.poll()
    assert pushed.context.state.mode is Mode.ESTOP
    button.words = [False]
    assert pushed.rearm(late) == ''
