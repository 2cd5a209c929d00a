# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The deadman begins and ends a takeover."""

import math

import pytest

from vla_ros.control.command_gate import CommandGate
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety import emergency_stop
from vla_ros.safety.deadman import Deadman
from vla_ros.safety.deadman import DeadmanSample
from vla_ros.safety.emergency_stop import EmergencyStop
from vla_ros.safety.emergency_stop import EstopSample
from vla_ros.safety.state_machine import ControlMode
from vla_ros.safety.state_machine import Event
from vla_ros.safety.state_machine import Mode

A, B = b'a' * 16, b'b' * 16


class Rig:
    """A deadman with messages and a clock that a test sets."""

    def __init__(self, **options):
        self.now = 0.0
        self.waiting = []
        self.deadman = Deadman(self._take, 0.25, now=lambda: self.now, **options)

    def _take(self):
        taken, self.waiting = self.waiting, []
        return taken

    def poll(self, *samples):
        """Return the events of messages (publisher, pressed)."""
        self.waiting += [DeadmanSample(pressed, publisher) for publisher, pressed in samples]
        return self.deadman.poll()


def test_the_deadman_is_held_while_its_messages_arrive():
    rig = Rig()
    assert rig.poll((A, False)) == () and rig.deadman.due == math.inf
    assert rig.poll((A, True)) == (Event.TAKE_OVER,)
    assert rig.deadman.holder == A
    for _ in range(10):
        rig.now += 0.2
        assert rig.poll((A, True)) == ()
    assert rig.deadman.due == rig.now + 0.25
    rig.now += 0.25
    assert rig.poll() == (Event.PAUSE,)
    # Its next message does not take over again.
    assert rig.poll((A, True)) == () and rig.deadman.holder is None
    assert rig.poll((A, False), (A, True)) == (Event.TAKE_OVER,)


def test_a_release_is_noticed_even_if_the_button_is_pressed_again_before_the_poll():
    rig = Rig()
    assert rig.poll((A, False), (A, True), (A, False), (A, True)) == (
        Event.TAKE_OVER, Event.PAUSE, Event.TAKE_OVER)


def test_a_deadman_that_is_pressed_from_the_start_begins_no_takeover():
    rig = Rig()
    assert rig.poll((A, True), (A, True)) == ()
    assert rig.poll((A, False), (A, True)) == (Event.TAKE_OVER,)


def test_a_second_deadman_is_refused_and_changes_nothing(caplog):
    rig = Rig()
    rig.poll((A, False), (B, False), (A, True))
    assert rig.poll((B, True), (B, False), (B, True)) == ()
    assert rig.deadman.holder == A
    assert [record.message for record in caplog.records] == [
        'a deadman that is pressed is refused: another teleoperator holds the arm: wait until '
        'that one has released']
    assert rig.poll((A, False)) == (Event.PAUSE,)
    # Held since before, it is not taken for pressed now.
    assert rig.poll((B, True)) == ()
    assert rig.poll((B, False), (B, True)) == (Event.TAKE_OVER,)


def test_an_unreadable_deadman_message_counts_as_a_release():
    rig = Rig()
    rig.poll((A, False), (A, True))
    assert rig.poll((None, False)) == (Event.PAUSE,)


def test_a_release_resumes_the_policy_and_silence_does_not():
    rig = Rig(resumes=True)
    assert rig.poll((A, False), (A, True), (A, False)) == (
        Event.TAKE_OVER, Event.PAUSE, Event.RESUME)
    rig.poll((A, True))
    rig.now += 1.0
    assert rig.poll() == (Event.PAUSE,)


@pytest.fixture
def taken(monkeypatch):
    """Return an open gate with a deadman, its rig, and a list of stop messages to deliver."""
    monkeypatch.setattr(emergency_stop, 'SETTLE_TIME', 0.0)
    rig, presses = Rig(), []

    def take_estop():
        while presses:
            yield EstopSample(presses.pop(0))

    gate = CommandGate('task', stop=EmergencyStop(take_estop), deadman=rig.deadman)
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE):
        gate.handle(event)
    gate.poll()
    return gate, rig, presses


def take_over(gate, rig):
    rig.waiting += [DeadmanSample(False, A), DeadmanSample(True, A)]
    gate.poll()
    assert gate.context.is_teleoperated and not gate.context.is_open


def test_results_from_before_a_takeover_and_commands_from_after_it_are_stale(taken):
    gate, rig, _ = taken
    before = gate.context
    take_over(gate, rig)
    assert not gate.send(before, lambda: pytest.fail('a result of the policy was sent'))
    during = gate.context
    sent = []
    assert gate.send(during, lambda: sent.append(1)) and sent == [1]
    assert gate.context.state.mode is Mode.RUNNING
    assert 'held' in f'{gate.resume()}' or 'deadman' in gate.resume()
    rig.waiting.append(DeadmanSample(False, A))
    # The release is polled by the sending itself.
    assert not gate.send(during, lambda: pytest.fail('it was released'))
    paused = gate.context
    assert paused.state.control is ControlMode.PAUSED and not paused.state.is_moving
    assert not gate.send(paused, lambda: pytest.fail('it is paused'))
    assert gate.resume() == ''
    assert not gate.send(before, lambda: pytest.fail('computed before the change back'))
    assert not gate.send(paused, lambda: pytest.fail('of before the change back'))
    assert gate.send(gate.context, lambda: None)


def test_after_a_stop_the_deadman_must_be_pressed_again(taken):
    gate, rig, presses = taken
    take_over(gate, rig)
    context = gate.context
    presses.append(True)
    assert not gate.send(context, lambda: pytest.fail('it is stopped'))
    assert gate.context.state.mode is Mode.ESTOP and gate.teleoperator is None
    presses.append(False)
    rig.waiting.append(DeadmanSample(True, A))
    gate.poll()
    assert gate.rearm() == ''
    assert gate.context.state.control is ControlMode.PAUSED
    rig.waiting.append(DeadmanSample(True, A))
    gate.poll()
    assert not gate.context.is_teleoperated
    take_over(gate, rig)


def test_a_press_of_the_deadman_in_a_stop_begins_no_takeover_later(taken):
    gate, rig, presses = taken
    presses.append(True)
    rig.waiting += [DeadmanSample(False, A), DeadmanSample(True, A)]
    gate.poll()
    assert gate.context.state.control is ControlMode.AUTONOMOUS and gate.teleoperator is None
    presses.append(False)
    gate.poll()
    gate.rearm()
    rig.waiting.append(DeadmanSample(True, A))
    gate.poll()
    assert gate.context.is_open


def test_an_invalid_command_holds_until_a_valid_one(taken):
    gate, rig, _ = taken
    take_over(gate, rig)
    assert gate.problem(Hold(Reason.TELEOPERATION, 'too far'), gate.context)
    assert gate.context.state.is_held and gate.context.is_teleoperated
    assert gate.send(gate.context, lambda: None)
    assert gate.context.state.mode is Mode.RUNNING


def test_sending_detects_a_silent_deadman(taken):
    gate, rig, _ = taken
    take_over(gate, rig)
    context = gate.context
    rig.now += 0.3
    assert not gate.send(context, lambda: pytest.fail('nobody is known to hold it'))
    assert gate.context.state.control is ControlMode.PAUSED


def test_a_new_instruction_does_not_affect_a_takeover(taken):
    gate, rig, _ = taken
    take_over(gate, rig)
    gate.send(gate.context, lambda: None)
    gate.instruct('another task')
    assert gate.context.state.is_moving and gate.context.is_teleoperated
