# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The real inference node with the scripted expert for a policy.

It reads the true state instead of the image, and takes a time like a model: a result is ready
0.08 simulated seconds after its state.
"""

import sys
import threading

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from state_sim import read_state
from state_sim import TOPIC
from std_msgs.msg import Float64MultiArray

from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import PolicySpec
from vla_ros.ros import main as node_main
from vla_ros.worlds.expert import Expert
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.tasks import Task
from vla_ros.worlds.tasks import TaskError

#: Duration of an inference in simulated seconds.
SECONDS = 0.08
#: Policies to be closed at the end.
POLICIES = []


class ExpertPolicy:
    """Predicts the action of the expert."""

    spec = PolicySpec('expert', 'vla_ros_tabletop', (1, 7), 1, 0, 'cpu', 'float32', 'none',
                      'it has none', 'none')

    def __init__(self):
        self._expert = Expert(Robot.load())
        self._changed = threading.Condition()
        self._now = (0.0, None)
        context = self._context = Context()
        rclpy.init(context=context)
        self._node = rclpy.create_node('expert_eyes', context=context)
        self._node.create_subscription(Float64MultiArray, TOPIC, self._take, 1)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()
        POLICIES.append(self)

    def infer(self, observation):
        """Infer the action for the newest state."""
        with self._changed:
            self._changed.wait_for(lambda: self._now[1] is not None, 10.0)
            began, state = self._now
            self._changed.wait_for(lambda: self._now[0] >= began + SECONDS, 2.0)
        try:
            action = self._expert.act(Task.parse(observation.instruction), state)
        except (TaskError, KeyError):
            action = self._expert.joints(np.array([0.35, 0.0, 0.25]), 0.0)
        return ActionChunk(actions=action[None], normalized=np.zeros((1, 7)), token_ids=(),
                           bins=(), margins=np.zeros(0, np.float32), prompt='', input_ids=(),
                           timings_ms={})

    def reset(self):
        """Do nothing, as there is no state."""

    def close(self):
        """End the subscription."""
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _take(self, message):
        with self._changed:
            self._now = read_state(message)
            self._changed.notify_all()


if __name__ == '__main__':
    status = node_main.main(load=lambda config: ExpertPolicy())
    for policy in POLICIES:
        policy.close()
    sys.exit(status)
