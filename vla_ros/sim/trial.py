# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Episodes over DDS: simulator and inference node as processes, and an examiner between them."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import sys
import time
from typing import Any

from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.demo.processes import Processes
from vla_ros.errors import VlaError
from vla_ros.sim.robot import JOINTS
from vla_ros.sim.score import Episode
from vla_ros.sim.tasks import Task

#: Simulated seconds after which an episode is given up.
EPISODE_SECONDS = 15.0
_PATIENCE = 60.0
_SILENT_TOPIC = '/vla/nobody_says_anything_here'


class TrialError(VlaError):
    """The processes of a trial do not work together."""


class Examiner(Node):
    """Gives instructions, arranges scenes and asks the referee."""

    def __init__(self, processes: Processes) -> None:
        super().__init__('vla_examiner')
        self._processes = processes
        reliable = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
        newest = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self._instructions = self.create_publisher(String, '/vla/instruction', reliable)
        self._joint_time = 0.0
        self._commands = 0
        self.create_subscription(JointState, '/joint_states', self._on_joints, newest)
        self.create_subscription(JointState, '/arm/joint_command', self._on_command, reliable)
        self._reset = self.create_client(Trigger, '/vla_sim/reset')
        self._success = self.create_client(Trigger, '/vla_sim/success')
        self._parameters = self.create_client(SetParameters, '/vla_sim/set_parameters')

    def await_commands(self, task: Task) -> None:
        """Wait until the node answers pictures."""
        def answered() -> bool:
            self._instructions.publish(String(data=task.instruction))
            return self._commands > 0
        self._until(answered, 'no joint command came')

    def run(self, seed: int, task: Task) -> Episode:
        """Play one episode."""
        self._instruct(task)
        self._set_seed(seed)
        self._ask(self._reset)
        start = self._joint_time
        decided = ''
        while not decided and self._joint_time - start < EPISODE_SECONDS:
            self._spin(0.05)
            message = self._ask(self._success).message
            if 'it happened to the ' in message:
                decided = message.split('it happened to the ')[1].split()[0]
        return Episode(seed, task, decided, self._joint_time - start)

    def _instruct(self, task: Task) -> None:
        def heard() -> bool:
            self._instructions.publish(String(data=task.instruction))
            return self._ask(self._success).message.startswith(task.instruction)
        self._until(heard, 'the simulator does not hear the instruction')

    def _set_seed(self, seed: int) -> None:
        request = SetParameters.Request(
            parameters=[Parameter('seed', value=seed).to_parameter_msg()])
        self._ask(self._parameters, request)

    def _ask(self, client: Any, request: Any = None) -> Any:
        self._until(client.service_is_ready, f'no service {client.srv_name}')
        future = client.call_async(request or client.srv_type.Request())
        self._until(future.done, f'{client.srv_name} does not answer')
        return future.result()

    def _until(self, condition: Any, problem: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TrialError(f'{problem} within {_PATIENCE:.0f} s')
            self._spin(0.02)

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self, timeout_sec=left)
        self._processes.check()

    def _on_joints(self, message: JointState) -> None:
        self._joint_time = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec

    def _on_command(self, message: JointState) -> None:
        self._commands += 1


@contextmanager
def examiner(checkpoint: str, logs: Path, speed: float, blank: str) -> Iterator[Examiner]:
    """
    Start simulator and node, and end them.

    :param speed: of the simulated time.
    :param blank: what the node is told instead of the instructions; empty for the instructions.
    """
    python = [sys.executable, '-m']
    sim = [*python, 'vla_ros.sim.node', '--ros-args', '-p', 'publish_clock:=true',
           '-p', f'speed:={speed}']
    names = ','.join(JOINTS)
    node = [*python, 'vla_ros.process', '--ros-args', '-p', f'checkpoint:={checkpoint}',
            '-p', 'use_sim_time:=true', '-p', 'action.space:=joint_position',
            '-p', f'action.joint_names:=[{names}]', '-p', 'device:=cpu']
    if blank:
        node += ['-p', f'instruction:="{blank}"', '-r', f'/vla/instruction:={_SILENT_TOPIC}']
    rclpy.init()
    try:
        with Processes(logs, os.environ) as processes:
            processes.start('vla_sim', sim)
            processes.start('vla_inference_node', node)
            found = Examiner(processes)
            try:
                yield found
            finally:
                found.destroy_node()
    finally:
        rclpy.try_shutdown()
