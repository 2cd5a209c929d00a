# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Nothing gets out after what should have kept it in."""

import threading

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros.gate import Gate

DEADLINE = 20.0


def open_gate():
    """Give a gate that lets commands out."""
    gate = Gate('task 1')
    gate.activate()
    return gate


def test_an_open_gate_sends():
    """And says so."""
    gate, sent = open_gate(), []
    assert gate.send(gate.order, lambda: sent.append(1))
    assert sent == [1]


@pytest.mark.parametrize('change', [
    lambda gate: gate.instruct('task 2'), lambda gate: gate.instruct(''), Gate.deactivate,
    Gate.stop, lambda gate: (gate.stop(), gate.release(), gate.rearm()),
    lambda gate: (gate.deactivate(), gate.activate()),
    lambda gate: (gate.instruct('task 2'), gate.instruct('task 1'))])
def test_a_change_voids_what_was_under_way(change):
    """Even where commands may be sent again by the time it is ready."""
    gate = open_gate()
    order = gate.order
    change(gate)
    assert not gate.send(order, lambda: pytest.fail('it was sent'))


@pytest.mark.parametrize('repeat', [lambda gate: gate.instruct('task 1'), Gate.release])
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
    gate.stop()
    gate.instruct('task 3')
    assert (gate.order.instruction, gate.order.version) == ('task 3', 2)


def test_a_stop_must_be_released_and_rearmed():
    """In this order."""
    gate = open_gate()
    assert gate.stop()
    assert not gate.stop()
    assert not gate.order.is_open
    assert 'pressed' in gate.rearm()
    assert gate.release()
    assert not gate.order.is_open
    assert gate.rearm() == ''
    assert gate.order.is_open


@given(st.lists(st.sampled_from(['stop', 'release', 'rearm', 'activate', 'deactivate', 'task'])))
def test_after_a_stop_only_a_rearm_after_a_release_opens(events):
    """Whatever else happens, in any order."""
    gate = open_gate()
    gate.stop()
    pressed, stopped, active = True, True, True
    for event in events:
        getattr(gate, event, lambda: gate.instruct('task 2'))()
        pressed = {'stop': True, 'release': False}.get(event, pressed)
        stopped = event == 'stop' or stopped and not (event == 'rearm' and not pressed)
        active = {'activate': True, 'deactivate': False}.get(event, active)
        assert gate.order.is_open == (active and not stopped)


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
    stopper = threading.Thread(target=lambda: (gate.stop(), events.append('stopped')))
    stopper.start()
    assert not stopper.join(0.05)
    go_on.set()
    sender.join(DEADLINE)
    stopper.join(DEADLINE)
    assert events == ['sent', 'stopped']
