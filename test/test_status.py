# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""State, reason and counts of the status."""

from dataclasses import replace

import pytest

from vla_ros.control.command_gate import CommandContext
from vla_ros.control.status import NodeStatus
from vla_ros.policy.base import PolicySpec
from vla_ros.robot.hold import Reason
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import State

SPEC = PolicySpec('fake', 'key', (1, 7), 1, 0, 'cpu', 'float32', 'sdpa', 'best here', 'none')
OPEN = CommandContext('task 1', state=State(Mode.RUNNING, active=True), since=0.0)
WAIT = replace(OPEN, state=State(Mode.WAITING, active=True))
STOP = State(Mode.ESTOP, active=True)


@pytest.fixture
def node_status():
    """Return a status with a loaded policy and a received frame."""
    node_status = NodeStatus('/camera', '/instruction', image_timeout=60.0)
    node_status.loading('', 100.0, SPEC)
    node_status.frame()
    return node_status


@pytest.mark.parametrize('context, state, reason', [
    (replace(WAIT, state=State(Mode.WAITING)), 'WAITING', 'activated'),
    (replace(WAIT, instruction=''), 'WAITING', 'no instruction: publish one on /instruction'),
    (WAIT, 'WAITING', 'first inference'),
    (replace(OPEN, state=replace(STOP, pressed=True)), 'ESTOP', 'pressed'),
    (replace(OPEN, state=STOP), 'ESTOP', '~/rearm'),
    (replace(OPEN, state=replace(STOP, active=False)), 'ESTOP', '~/rearm'),
    (replace(OPEN, state=State(Mode.HOLD, Reason.JUMP, True), detail='far'), 'HOLD',
     'jump: far; call ~/rearm'),
    (replace(OPEN, state=State(Mode.HOLD, Reason.LIMIT, True), detail='far'), 'HOLD',
     'limit: far'),
    (replace(OPEN, state=State(Mode.FAULT, Reason.HANGING), detail='9 s'), 'FAULT',
     'inference hangs: 9 s'),
    (replace(OPEN, state=State(Mode.SHADOW, active=True, shadow=True)), 'SHADOW', '~/rearm'),
    (OPEN, 'RUNNING', '')])
def test_a_configured_node_reports_its_state_and_what_to_do(node_status, context, state, reason):
    node_status.sent()
    status = node_status.status(context, replaced=0)
    assert status.state == state
    assert reason in status.reason


def test_a_loading_node_reports_its_progress():
    node_status = NodeStatus('/camera', '/instruction', image_timeout=60.0)
    assert node_status.status(replace(OPEN, state=State()), 0).state == 'UNCONFIGURED'
    node_status.loading('shard 1', 12.3)
    status = node_status.status(replace(OPEN, state=State(Mode.LOADING)), 0)
    assert (status.state, status.reason, status.progress.loading_percent) == (
        'LOADING', 'shard 1', 12.3)


def test_a_silent_camera_is_reported_by_its_topic():
    node_status = NodeStatus('/camera', '/instruction', image_timeout=60.0)
    node_status.loading('', 100.0, SPEC)
    assert node_status.status(WAIT, 0).reason == 'no image on /camera for more than 60 s'


def test_frames_results_and_failures_are_counted(node_status):
    node_status.failed()
    node_status.sent()
    node_status.result_sent(0.25)
    node_status.skipped()
    node_status.discarded()
    status = node_status.status(OPEN, replaced=3)
    progress = status.progress
    assert (progress.frames_received, progress.frames_failed, status.frames_dropped) == (1, 1, 4)
    assert (progress.results_discarded, progress.commands_sent, progress.last_age) == (1, 1, 0.25)
