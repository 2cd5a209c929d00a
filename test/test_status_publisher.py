# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Changes of the status are published and recorded in the black box."""

from types import SimpleNamespace

from vla_ros.control.command_gate import CommandGate
from vla_ros.control.status import NodeStatus
from vla_ros.control.status_publisher import StatusPublisher
from vla_ros.safety.state_machine import Event


def test_the_black_box_records_every_change_of_state_and_control_mode():
    gate, published, events = CommandGate('wave'), [], []
    ros = SimpleNamespace(now=lambda: 0, publish_status=published.append)
    box = SimpleNamespace(event=lambda now, text, level: events.append(text), write=events.append)
    publisher = StatusPublisher(ros, NodeStatus('/camera', '/instruction', 60.0), gate,
                                SimpleNamespace(complete=lambda status: status), box, lambda: 0)
    for event in (Event.CONFIGURE, Event.LOADED, Event.ACTIVATE, Event.TAKE_OVER, Event.RESULT,
                  Event.PAUSE, Event.RESUME):
        gate.handle(event)
        publisher.publish_changes()
    begins = [' '.join(text.split()[:2]) for text in events]
    assert begins[-4:] == ['WAITING TAKEOVER', 'RUNNING TAKEOVER', 'WAITING PAUSED', 'WAITING no']
    assert [status.control_mode for status in published][-4:] == [
        'TAKEOVER', 'TAKEOVER', 'PAUSED', 'AUTONOMOUS']
