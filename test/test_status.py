# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The status says what is, and measures it."""

from dataclasses import replace

import pytest

from vla_ros.gate import Order
from vla_ros.policy import PolicySpec
from vla_ros.status import RateMeter
from vla_ros.status import READY
from vla_ros.status import StatusBoard

SPEC = PolicySpec('fake', 'key', (1, 7), 1, 0, 'cpu', 'float32', 'sdpa', 'best here', 'none')
OPEN = Order('task 1', active=True, since=0.0)


@pytest.fixture
def board():
    """Give a board on which a policy is ready and frames come in."""
    board = StatusBoard('/camera', '/instruction', image_timeout=60.0)
    board.phase(READY, '', SPEC, percent=100.0)
    board.frame()
    return board


def test_a_rate_is_what_was_measured():
    """Ten a second, until they stop."""
    meter = RateMeter(window=10.0)
    assert meter.rate(0.0) == 0.0
    for tick in range(20):
        meter.tick(0.1 * tick)
    assert meter.rate(1.9) == pytest.approx(10.0)
    assert meter.rate(2.0) == pytest.approx(10.0)
    assert 4 < meter.rate(4.0) < 5
    assert meter.rate(20.0) == 0.0


def test_a_change_of_rate_shows():
    """Slow events are forgotten."""
    meter = RateMeter(window=10.0)
    for tick in range(5):
        meter.tick(float(tick))
    for tick in range(60):
        meter.tick(4.0 + 0.01 * tick)
    assert meter.rate(4.6) == pytest.approx(100.0, rel=0.05)


@pytest.mark.parametrize('order, state, reason', [
    (replace(OPEN, active=False), 'WAITING', 'activated'),
    (replace(OPEN, instruction=''), 'WAITING', 'no instruction: publish one on /instruction'),
    (replace(OPEN, stopped=True, pressed=True), 'ESTOP', 'pressed'),
    (replace(OPEN, stopped=True), 'ESTOP', '~/rearm'),
    (replace(OPEN, stopped=True, active=False), 'ESTOP', '~/rearm'),
    (replace(OPEN, since=1e12), 'WAITING', 'first answer'),
    (OPEN, 'RUNNING', '')])
def test_states_of_a_configured_node(board, order, state, reason):
    """Each with a reason that says what to do."""
    board.sent(0.1)
    status = board.status(order, replaced=0)
    assert status.state == state
    assert reason in status.reason


def test_before_it_is_configured_the_phase_is_the_state():
    """Whatever the order."""
    board = StatusBoard('/camera', '/instruction', image_timeout=60.0)
    assert board.status(OPEN, 0).state == 'UNCONFIGURED'
    board.phase('LOADING', 'shard 1', percent=12.3)
    status = board.status(OPEN, 0)
    assert (status.state, status.reason, status.progress.loading_percent) == (
        'LOADING', 'shard 1', 12.3)


def test_a_camera_that_says_nothing_is_missed():
    """By the name of its topic."""
    board = StatusBoard('/camera', '/instruction', image_timeout=60.0)
    board.phase(READY, '', SPEC)
    assert board.status(OPEN, 0).reason == 'no image on /camera for more than 60 s'


def test_a_failure_holds_until_a_command_is_sent(board):
    """And everything is counted."""
    board.failed('no good')
    assert board.status(OPEN, 0).headline[:2] == ('HOLD', 'no good')
    board.sent(0.25)
    board.unused()
    board.void()
    status = board.status(OPEN, replaced=3)
    progress = status.progress
    assert status.state == 'RUNNING'
    assert (progress.frames_received, progress.frames_failed, status.frames_dropped) == (1, 1, 4)
    assert (progress.answers_void, progress.commands_sent, progress.last_age) == (1, 1, 0.25)
