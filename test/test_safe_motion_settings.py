# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Holds and starts of an arm that need settings of their own."""

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

from arm_harness import assert_held  # noqa: E402, I100
from arm_harness import HOME  # noqa: E402
from arm_harness import NODE  # noqa: E402
from arm_harness import robot  # noqa: E402
from node_harness import DEADLINE  # noqa: E402
from node_harness import RELIABLE  # noqa: E402
import numpy as np  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402


def test_an_arm_that_is_stuck_is_held():
    """The arm stays at its position for any command."""
    with robot(action_limits__following='0.05') as (arm, _):
        arm.wait_for('RUNNING')
        arm.is_stuck = True
        arm.wait_for('HOLD', 'limit: joint_')
        assert 'something is in the way' in arm.observer.diagnostics[-1]['message']


def test_the_status_advises_action_repeat_for_a_slow_policy_of_deltas():
    """With the advised value there is no advice."""
    for repeat, level in (('0.0', 'the arm moves'), ('0.6', 'RUNNING')):
        with robot(delay=0.5, max_age='2.0', action__repeat=repeat) as (arm, _):
            statuses = arm.observer.diagnostics
            arm.observer.wait(
                lambda: statuses and statuses[-1].get('motion coverage', 'nan') != 'nan'
                and statuses[-1]['state'] == 'RUNNING', 'a measured coverage', arm.node)
            assert statuses[-1]['message'].startswith(level), statuses[-1]['message']
            assert ('set action.repeat' in statuses[-1]['message']) == (repeat == '0.0')


def test_a_hanging_inference_is_a_fault_with_a_black_box(tmp_path):
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
        moments, image = timeline(path)
    assert image is not None
    assert {'event', 'frame', 'result', '/arm/joint_command', '/joint_states'} <= {
        moment.what for moment in moments}
    assert 'FAULT inference hangs' in [m.text for m in moments if m.what == 'event'][-1]


def test_shadow_is_switched_on_and_off_through_a_hold():
    with robot() as (arm, _):
        shadow = []
        arm.observer.listen(JointState, '/arm/joint_command/shadow', RELIABLE, shadow.append)

        def switch(data):
            return arm.observer.call(SetBool, f'{NODE}/shadow', SetBool.Request(data=data),
                                     arm.node)

        arm.wait_for('RUNNING')
        arm.wait_for_motion()
        assert switch(True).success
        arm.wait_for('HOLD', '~/shadow was called, the arm goes on in shadow')
        assert_held(arm)
        assert not shadow
        assert arm.call('rearm').success
        arm.wait_for('SHADOW')
        with arm.observer.changed:
            count, rest = len(arm.commands), arm.vector()
            assert arm.observer.changed.wait_for(lambda: len(shadow) > 50, DEADLINE)
            assert len(arm.commands) == count
        assert not arm.call('rearm').success
        assert switch(False).success
        arm.wait_for('HOLD', 'out of shadow')
        held = arm.wait_for_commands(20)
        # The positions of the shadow have moved on; the arm is held at its own.
        assert np.abs(np.array([one.position[:6] for one in held]) - rest).max() < 1e-6
        assert arm.call('rearm').success
        arm.wait_for('RUNNING')
        arm.wait_for_motion()


def test_a_dry_start_moves_nothing_until_rearm():
    """Commands go to the shadow topic."""
    with robot(topic='/arm/joint_command/shadow', safety__dry_start='true') as (arm, _):
        arm.wait_for('SHADOW', '~/rearm')
        arm.positions = dict(zip(arm.positions, HOME))
        arm.wait_for_commands(100)
        assert not arm.observer.commands
        assert arm.call('rearm').success
        arm.observer.wait(lambda: len(arm.observer.commands) > 20, 'commands', arm.node)
        arm.wait_for('RUNNING')
