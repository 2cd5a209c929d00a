# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Arms that need a node with settings of their own to stop, or to start."""

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

from arm_harness import assert_held  # noqa: E402, I100
from arm_harness import HOME  # noqa: E402
from arm_harness import robot  # noqa: E402


def test_an_arm_that_is_stuck_holds():
    """Something is in the way: it stays where it is, whatever is commanded."""
    with robot(action_limits__following='0.05') as (arm, _):
        arm.wait_for('RUNNING')
        arm.is_stuck = True
        arm.wait_for('HOLD', 'limit: joint_')
        assert 'something is in the way' in arm.observer.diagnostics[-1]['message']


def test_the_status_advises_on_a_model_too_slow_for_its_deltas():
    """With the number that mends it, and with that it is content."""
    for repeat, level in (('0.0', 'the arm moves'), ('0.6', 'RUNNING')):
        with robot(delay=0.5, max_age='2.0', action__repeat=repeat) as (arm, _):
            said = arm.observer.diagnostics
            arm.observer.wait(
                lambda: said and said[-1].get('motion coverage', 'nan') != 'nan'
                and said[-1]['state'] == 'RUNNING', 'a measured pace', arm.node)
            assert said[-1]['message'].startswith(level), said[-1]['message']
            assert ('set action.repeat' in said[-1]['message']) == (repeat == '0.0')


def test_a_hanging_inference_is_a_fault_and_holds(tmp_path):
    """And the black box tells of it."""
    from vla_ros.safety.timeline import timeline
    with robot(safety__inference_timeout='0.5', black_box__folder=str(tmp_path)) as (arm, _):
        arm.wait_for('RUNNING')
        arm.wait_for_motion()
        arm.observer.instruct('hang')
        arm.wait_for('FAULT', 'inference hangs: no result for')
        assert_held(arm)
        assert 'fault' in arm.call('rearm').message
        path, = arm.observer.poll(lambda: list(tmp_path.glob('*fault*.mcap')), 'a black box',
                                  arm.node)
        moments, picture = timeline(path)
    assert picture is not None
    assert {'event', 'frame', 'result', '/arm/joint_command', '/joint_states'} <= {
        moment.what for moment in moments}
    assert 'FAULT inference hangs' in [m.text for m in moments if m.what == 'event'][-1]


def test_a_dry_start_moves_nothing_until_it_is_taken():
    """Everything runs beside the arm."""
    with robot(topic='/arm/joint_command/shadow', safety__dry_start='true') as (arm, _):
        arm.wait_for('SHADOW', '~/rearm')
        arm.positions = dict(zip(arm.positions, HOME))
        arm.wait_for_commands(100)
        assert not arm.observer.commands
        assert arm.call('rearm').success
        arm.observer.wait(lambda: len(arm.observer.commands) > 20, 'commands', arm.node)
        arm.wait_for('RUNNING')
