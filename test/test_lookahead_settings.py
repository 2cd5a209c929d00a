# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Settings of the lookahead, and motion after missing messages."""

from dataclasses import replace

from controller_rules import Points
from controller_rules import TrajectoryController
import numpy as np
import pytest
from vla_ros.control.parameters import NodeConfig
from vla_ros.data.datasets import DatasetDescription
from vla_ros.data.datasets import Gripper
from vla_ros.errors import ParameterError
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.arm import Arm
from vla_ros.motion.executor import TrajectoryExecutor
from vla_ros.motion.timing import Timing
from vla_ros.policy.base import PolicySpec
from vla_ros.robot.description import GripperJoint
from vla_ros.robot.description import Robot
from vla_ros.robot.limits import Limits
from vla_ros.safety.action_limits import ActionLimits
from vla_ros.safety.action_limits import ActionLimitSettings
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.state_machine import State

pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')

SPEC = PolicySpec(
    checkpoint='fake', unnorm_key='bridge_orig', action_shape=(1, 7), image_count=1,
    proprio_dim=0, device='cpu', dtype='float32', attention='none',
    attention_reason='a fake has none', quantization='none')
ROBOT = Robot('', '', '', ('a', 'b'), np.zeros(2), (GripperJoint('hand', 0.04, 0.0),),
              Limits(('a', 'b', 'hand'), np.array([-1.0, -2.0, 0.0]), np.array([1.5, 0.5, 0.04]),
                     np.array([2.0, 1.0, 0.1]), np.array([8.0, 3.0, 1.0]),
                     np.array([80.0, 60.0, 20.0])))


@pytest.mark.parametrize('values, message', [
    ({'lead': 0.01}, 'trajectory.lead: got 0.01, it must be below one period of command_rate'),
    ({'lead': 0.01, 'output': 'twist'}, 'where output is not joint_trajectory'),
    ({'lookahead': 0.1, 'motion_rate': 15.0}, 'at least two periods of command_rate, 0.133333'),
    ({'output': 'twist', 'gripper_output': 'together'}, 'where output is twist')])
def test_settings_that_cannot_move_the_arm_are_refused_with_an_alternative(values, message):
    from vla_ros.control.motion_setup import build_arm
    config = NodeConfig(**{'checkpoint': 'fake', 'robot_file': 'six_axis_arm',
                           'action_space': 'dataset', 'output': 'joint_trajectory', **values})
    with pytest.raises(ParameterError) as refused:
        build_arm(config, SPEC, lambda: '')
    assert message in str(refused.value)


@pytest.mark.parametrize('output, gripper, resolved', [
    ('joint_state', 'auto', 'together'), ('joint_trajectory', 'auto', 'joint_trajectory'),
    ('position_array', 'auto', 'position_array'), ('twist', 'auto', 'joint_trajectory'),
    ('joint_trajectory', 'together', 'together'), ('twist', 'none', 'none')])
def test_the_gripper_output_follows_the_arms_unless_it_is_set(output, gripper, resolved):
    """A controller owns the joints of an arm or of a gripper, and rejects others."""
    assert NodeConfig(output=output, gripper_output=gripper).grippers_as == resolved


@pytest.mark.parametrize('change', [
    {'mode': Mode.ESTOP}, {'shadow': True}, {'active': False, 'mode': Mode.WAITING},
    {'mode': Mode.LOADING}])
def test_a_silenced_controller_gets_one_last_braking_message(change):
    """After it no message is sent. An arm at rest gets none."""
    limits = ActionLimits(ActionLimitSettings(), ROBOT.limits, None, 2)
    dataset = DatasetDescription('own', 0.2, 'joint_delta', grippers=(Gripper(2, 1.0, 0.0),))
    executor = TrajectoryExecutor(ROBOT, ActionReader(dataset, ROBOT, 3), limits, Timing(0.2))
    arm = Arm(ROBOT, executor, limits, lookahead=0.2)
    arm.measurements.take(ROBOT.names, [0.0, 0.0, 0.0], 0.0)
    plan_start = arm.plan_start(0.0)
    running = State(Mode.RUNNING, active=True)
    arm.tick(running, 0.0)
    silent = replace(running, **change)
    assert not arm.must_stop(silent, 0.0)
    arm.execute(executor.plan(np.tile([0.1, 0.0, 0.5], (8, 1)), plan_start))
    for now in (0.01, 0.2):
        moving = arm.tick(running, now)
    assert moving.lookahead.times[-1] > 0.2 and not moving.is_last
    assert arm.must_stop(silent, 0.2) and not arm.must_stop(running, 0.2)
    last = arm.tick(silent, 0.203)
    assert last.is_last and not last.is_shadow
    assert not last.lookahead.velocities[-1].any()
    # It moves no further than braking needs; the previous message would.
    assert last.lookahead.positions[-1][0] < moving.lookahead.positions[-1][0]
    assert not arm.must_stop(silent, 0.203)
    assert arm.tick(silent, 0.213) is None


def test_after_a_stall_motion_continues_from_the_position_to_which_the_controller_braked():
    limits = ActionLimits(ActionLimitSettings(), ROBOT.limits, None, 2)
    dataset = DatasetDescription('own', 0.2, 'joint_delta', grippers=(Gripper(2, 1.0, 0.0),))
    executor = TrajectoryExecutor(ROBOT, ActionReader(dataset, ROBOT, 3), limits, Timing(0.2))
    executor.start(np.zeros(3), 0.0)
    executor.execute(executor.plan(np.tile([0.15, -0.1, 0.5], (8, 1)), executor.plan_start(0.0)))
    controller = TrajectoryController(ROBOT.names, 'jazzy', np.zeros(3))

    def send(now):
        executor.catch_up(now)
        executor.sample(now)
        ahead = executor.look_ahead(now, 0.2)
        rows = list(zip(ahead.positions, ahead.velocities, ahead.accelerations))
        assert controller.take(Points(100.0 + now, list(ROBOT.names), ahead.times, rows),
                               100.0 + now) == ''

    for now in np.arange(0.0, 0.5, 0.01):
        send(now)
    moving = controller.update(100.5)
    assert np.abs(moving[1]).max() > 0.3
    # 0.35 s of silence: 0.2 s of the plan, then it brakes.
    before = controller.update(100.85)
    send(0.85)
    after = controller.update(100.85)
    for one, other in zip(before[:2], after[:2]):
        np.testing.assert_allclose(one, other, atol=2e-3)
    for now in np.arange(0.86, 2.5, 0.01):
        send(now)
    assert controller.update(102.5)[0][0] == pytest.approx(1.2, abs=1e-6)
