# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A small robot, and a trajectory executor for it."""

import numpy as np
from vla_ros.data.datasets import DatasetDescription
from vla_ros.data.datasets import find_dataset
from vla_ros.data.datasets import Gripper
from vla_ros.motion.action_space import ActionReader
from vla_ros.motion.executor import TrajectoryExecutor
from vla_ros.motion.kinematics import Kinematics
from vla_ros.motion.timing import action_duration
from vla_ros.motion.timing import Timing
from vla_ros.robot.description import GripperJoint
from vla_ros.robot.description import Robot
from vla_ros.robot.limits import Limits
from vla_ros.safety.action_limits import ActionLimits
from vla_ros.safety.action_limits import ActionLimitSettings

BRIDGE = find_dataset('bridge_orig')
HOME = np.array([0.0, 0.0, 0.0, 0.0, 1.5708, 0.0, 0.02])
TICK = 0.01

SMALL = Robot('', '', '', ('a', 'b'), np.zeros(2), (GripperJoint('hand', 0.04, 0.0),),
              Limits(('a', 'b', 'hand'), np.array([-1.0, -2.0, 0.0]), np.array([1.5, 0.5, 0.04]),
                     np.array([2.0, 1.0, 0.1]), np.array([8.0, 3.0, 1.0]),
                     np.array([80.0, 60.0, 20.0])))


def joint_space(space, period=0.2):
    """Describe actions of two joints and a gripper."""
    return DatasetDescription('own', period, space, grippers=(Gripper(2, 1.0, 0.0),))


def make_executor(robot, dataset, timing=None, limit_settings=None, workspace=None):
    """Return a trajectory executor, its kinematics (None for joint spaces) and its limits."""
    reader = ActionReader(dataset, robot, len(robot.names))
    kinematics = Kinematics(robot) if reader.is_cartesian else None
    limits = ActionLimits(limit_settings or ActionLimitSettings(), robot.limits, workspace,
                          len(robot.joints))
    timing = timing or Timing(action_duration(dataset))
    return TrajectoryExecutor(robot, reader, limits, timing, kinematics), kinematics, limits


def plan(executor, actions, now):
    """Plan a trajectory of these actions from now on."""
    return executor.plan(actions, executor.plan_start(now))
