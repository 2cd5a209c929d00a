# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
A scripted operator over ROS topics, and a pair of simulator and node whose episodes it records.

It receives the true state, and sends the goals of the expert continuously, like a leader arm.
When the goal of the policy has differed for a while, it holds the deadman until the end of the
episode.
"""

from collections import Counter
from dataclasses import dataclass
import math
import sys

import numpy as np
from rclpy.clock import Clock
from rclpy.clock import ClockType
from sensor_msgs.msg import JointState
from state_sim import read_state
from state_sim import TOPIC
from std_msgs.msg import Bool
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from vla_ros.evaluation.episodes import EpisodeRunner
from vla_ros.evaluation.evaluator import Evaluator
from vla_ros.evaluation.evaluator import make_evaluator
from vla_ros.evaluation.evaluator import TrialError
from vla_ros.evaluation.pair import Pair
from vla_ros.evaluation.pair import parameter_arguments
from vla_ros.evaluation.pair import running
from vla_ros.worlds.expert import Expert
from vla_ros.worlds.outcomes import Episode
from vla_ros.worlds.robot import JOINTS
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.robot import UnreachableError

RECORDER = 'vla_record'
CONTRACT = 'tabletop_leader'
#: Differences of the policy's goal from the expert's that are wrong: of tip and gripper, in m.
_WRONG, _WRONG_GRIPPER = 0.03, 0.02
#: Simulated seconds of a wrong goal before a takeover, and until a takeover in any case.
_PATIENCE, _MOST_PATIENCE = 0.3, 8.0
#: Simulated seconds between two goals, and of wall time between two messages of the deadman.
_GOAL_PERIOD, _DEADMAN_PERIOD = 0.03, 0.05
_TELEOP = {'teleop.enabled': True, 'teleop.timeout': 1.0, 'teleop.max_distance': 2.0}


@dataclass(frozen=True)
class TeleoperatedPair(Pair):
    """A pair whose node lets a teleoperator take over."""

    def node_command(self):
        """Return the command of the node."""
        return [*super().node_command(), *parameter_arguments(**_TELEOP)]


class Operator(Evaluator):
    """Runs episodes, takes over when they fail, and has them recorded."""

    def __init__(self, processes, context):
        super().__init__(processes, context)
        self._robot = Robot.load()
        self._expert = Expert(self._robot)
        self._deadman = self.create_publisher(Bool, '/teleop/deadman', 10)
        self._leader = self.create_publisher(JointState, '/teleop/joint_command', 10)
        self.create_subscription(Float64MultiArray, TOPIC, self._on_state, 1)
        self.create_timer(_DEADMAN_PERIOD, self._send_deadman,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._resume = self.create_client(Trigger, '/vla_inference_node/resume')
        self._recorder = {word: self.create_client(Trigger, f'/{RECORDER}/{word}')
                          for word in ('start', 'success', 'failure')}
        self._task = None
        self._elapsed = self._sent = self._began = 0.0
        self._goal = None
        self._wrong_since = math.inf
        self._is_held = False

    def wait_for_recorder(self):
        """Wait until the recorder has subscribed to the topics of this node."""
        self._until(lambda: self._leader.get_subscription_count() >= 2
                    and self._deadman.get_subscription_count() >= 2,
                    'node and recorder do not subscribe to the teleoperator')

    def run(self, seed, task):
        """Run and record one episode; return it, and whether the operator has taken over."""
        self._task = task
        self.arrange(seed, task)
        self._decide('start')
        self._began, self._wrong_since = self._elapsed, math.inf
        color, seconds = '', 0.0
        # A minimum duration, as some scenes are fulfilled from the start.
        while (not color or self._elapsed - self._began < 0.5) and seconds < 15.0:
            self.spin(0.05)
            color, seconds = self.success(task)
            wrong = self._elapsed - self._wrong_since >= _PATIENCE
            self._is_held |= wrong or seconds > _MOST_PATIENCE
        is_taken_over = self._is_held
        self._decide('success' if color == task.color else 'failure')
        self._is_held = False
        self._send_deadman()
        self._until(lambda: self._ask(self._resume).success, 'the policy does not go on', 0.2)
        return Episode(seed, task, color, seconds), is_taken_over

    def _decide(self, word):
        response = self._ask(self._recorder[word])
        if not response.success:
            raise TrialError(f'the recorder: {response.message}')

    def _send_deadman(self):
        self._deadman.publish(Bool(data=self._is_held))

    def _on_state(self, message):
        self._elapsed, state = read_state(message)
        if self._task is None or self._elapsed - self._sent < _GOAL_PERIOD - 1e-9:
            return
        try:
            self._goal = self._expert.act(self._task, state)
        except (UnreachableError, KeyError):  # another scene is being arranged
            self._goal = None
            return
        self._sent = self._elapsed
        command = JointState(name=list(JOINTS), position=self._goal.tolist())
        nanoseconds = round(self._elapsed * 1e9)
        command.header.stamp.sec, command.header.stamp.nanosec = divmod(nanoseconds, 10**9)
        self._leader.publish(command)

    def _on_action(self, message):
        super()._on_action(message)
        if self._goal is None:
            return
        action = np.array(message.action).reshape(message.action_shape)[0]
        is_wrong = (np.linalg.norm(self._tool(action) - self._tool(self._goal)) > _WRONG
                    or abs(action[6] - self._goal[6]) > _WRONG_GRIPPER)
        self._wrong_since = min(self._wrong_since, self._elapsed) if is_wrong else math.inf

    def _tool(self, joints):
        return self._robot.forward(dict(zip(JOINTS, joints)))[:3, 3]


class RecordedRunner(EpisodeRunner):
    """Runs a plan; each thread has a recorder and an operator of its own."""

    def __init__(self, pair, plan, folder, report):
        super().__init__(pair, plan, report)
        self._folder = folder
        self.takeovers = Counter()

    def _run_queue(self, domain, logs, environment):
        with running(self._pair, logs, environment) as processes:
            processes.start(RECORDER, [
                sys.executable, '-m', 'vla_ros.cli.record', '--ros-args', *parameter_arguments(
                    contract=CONTRACT, folder=str(self._folder / str(domain)),
                    use_sim_time=True)])
            with make_evaluator(Operator, processes, domain) as operator:
                operator.on_wait = self._check
                operator.wait_for_pair()
                operator.wait_for_recorder()
                while (item := self._next()) is not None:
                    episode, is_taken_over = operator.run(*item)
                    with self._lock:
                        self.takeovers[item[1].kind] += is_taken_over
                    self._finish(episode)
                with self._lock:
                    self.holds += operator.holds
