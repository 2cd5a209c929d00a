# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_sim --world``: a task of LIBERO as a robot, under the benchmark's own Python."""

from contextlib import ExitStack
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_ros.control.parameter import Parameter
from vla_ros.errors import UnsupportedError
from vla_ros.errors import VlaError
from vla_ros.ros.arguments import declare
from vla_ros.ros.arguments import node_parser
from vla_ros.ros.arguments import start_ros
from vla_ros.ros.messages import nanoseconds
from vla_ros.ros.messages import VlaAction
from vla_ros.ros.qos import ESTOP_PROFILES
from vla_ros.ros.qos import RELIABLE
from vla_ros.sim.libero.publishers import Publishers
from vla_ros.sim.libero.schedule import Schedule
from vla_ros.util.signals import signals_collected
from vla_ros.worlds.libero.robot import JOINTS
from vla_ros.worlds.libero.suites import ACTION_PERIOD
from vla_ros.worlds.libero.suites import INITIAL_STATES
from vla_ros.worlds.libero.suites import TaskName
from vla_ros.worlds.libero.world import LiberoWorld

CONTROLLERS = ('joint', 'osc')
PARAMETERS = (
    Parameter('world', 'libero_spatial/0', 'Suite and task; ~/reset changes to it.',
              read_only=False),
    Parameter('state', 0, 'Recorded initial state, which ~/reset restores.',
              minimum=0, maximum=INITIAL_STATES - 1, read_only=False),
    Parameter('pause', False, 'Simulated time stands still from an image to its action, and '
              'after ~/reset until the first action.'),
    Parameter('latency', 0.0, 'Simulated seconds by which images are published late.',
              minimum=0.0, maximum=2.0, read_only=False),
    Parameter('steps', 1, 'Action periods from one image to the next.', minimum=1, maximum=100,
              read_only=False),
    Parameter('speed', 1.0, 'Real-time factor of the simulation, without pause.',
              minimum=0.01, maximum=20.0),
    Parameter('patience', 5.0, 'Seconds of wall time for which time stands still for one action; '
              'then the image is published again.', minimum=0.1, maximum=600.0))

#: Simulated seconds between two joint states.
JOINT_PERIOD = 0.01
#: Seconds of wall time between two joint states while time stands still.
_JOINTS_PERIOD = 0.1
_TICKS = round(ACTION_PERIOD / JOINT_PERIOD)


class LiberoNode(Node):
    """Steps the world, publishes its sensors and follows commands."""

    def __init__(self, controller: str) -> None:
        """
        Build the world of the parameters.

        :param controller: ``joint`` follows ``/arm/joint_command``, ``osc`` hands the actions of
            ``/vla/action`` to the benchmark's own controller.
        :raises VlaError: a parameter cannot be used, or a package is missing.
        """
        super().__init__('vla_sim')
        values: dict[str, Any] = declare(self, PARAMETERS)
        self._is_osc = controller == 'osc'
        if VlaAction is None and (self._is_osc or values['pause']):
            raise UnsupportedError('vla_sim --world', 'vla_ros_msgs is not built for this Python',
                                   'colcon build --base-paths . msg')
        self._world = LiberoWorld(TaskName.parse(values['world']))
        self._outputs = Publishers(self, self._world)
        self._schedule = Schedule(values['pause'], values['speed'], values['patience'],
                                  JOINT_PERIOD)
        self._command: JointState | None = None
        self._action: np.ndarray | None = None
        self._actions: list[np.ndarray] = []
        self._is_stopped = False
        self._joints_at = 0.0
        self._tick = 0
        self._succeeded_after = 0
        self.create_subscription(JointState, '/arm/joint_command', self._on_command, RELIABLE)
        for profile in ESTOP_PROFILES:
            self.create_subscription(Bool, '/arm/estop', self._on_estop, profile)
        if VlaAction is not None:
            self.create_subscription(VlaAction, '/vla/action', self._on_action, RELIABLE)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_service(Trigger, '~/success', self._on_success)
        self._arrange()

    def advance(self) -> float:
        """
        Make the step that is due, if any.

        :returns: seconds of wall time until the next call.
        """
        now = time.monotonic()
        if self._schedule.must_wait(now, self._command is not None):
            if self._schedule.is_time_to_repeat(now):
                self._outputs.repeat()
            if now - self._joints_at > _JOINTS_PERIOD:
                self._joints_at = now
                self._outputs.joint_states(self._world, self._schedule.elapsed)
            return 0.02
        if not self._schedule.is_due(now):
            return 0.002
        self._step()
        return 0.0

    def _step(self) -> None:
        if self._is_osc:
            self._step_osc()
        else:
            self._follow()
            self._world.step(JOINT_PERIOD)
            self._advance_time(1)
        if not self._succeeded_after and self._schedule.actions and self._world.is_success():
            self._succeeded_after = self._schedule.executed(_TICKS)

    def _step_osc(self) -> None:
        if self._actions:
            self._action = self._actions.pop(0)
        if self._action is not None and not self._is_stopped:
            self._world.act(self._action)
            if not self._actions:
                self._action = None
        self._advance_time(_TICKS)

    def _advance_time(self, ticks: int) -> None:
        """Publish the clock and joint states, and an image where one is due."""
        self._schedule.advance_time(ticks)
        self._tick += ticks
        self._outputs.joint_states(self._world, self._schedule.elapsed, clock=True)
        if self._tick % (_TICKS * self.get_parameter('steps').value) == 0:
            self._outputs.take(self._world, self._schedule.elapsed,
                               self._schedule.elapsed + self.get_parameter('latency').value)
        stamp = self._outputs.publish_due(self._schedule.elapsed)
        if stamp is not None:
            self._schedule.image_published(stamp, time.monotonic())

    def _follow(self) -> None:
        """Follow the newest command; without one the arm stays at its last target."""
        command, self._command = self._command, None
        if command is None or self._is_stopped:
            self._world.rest()
            return
        measured = self._world.joint_positions()
        speeds = np.zeros(len(JOINTS))
        target = self._world.target.copy()
        given = dict(zip(command.name, command.position))
        moving = dict(zip(command.name, command.velocity))
        for index, name in enumerate(JOINTS):
            target[index] = given.get(name, target[index])
            speeds[index] = moving.get(name, 0.0)
        if not (np.isfinite(target).all() and np.isfinite(speeds).all()):
            self.get_logger().warning('a command that is not finite is not followed',
                                      throttle_duration_sec=1.0)
            target, speeds = measured, np.zeros(len(JOINTS))
        self._world.command(target, speeds)

    def _on_command(self, message: JointState) -> None:
        self._command = message

    def _on_estop(self, message: Bool) -> None:
        self._is_stopped = message.data

    def _on_action(self, message: Any) -> None:
        is_first = self._schedule.action_received(nanoseconds(message.header.stamp))
        if not is_first or not self._is_osc:
            return
        self._actions = list(np.array(message.action, np.float64).reshape(message.action_shape))

    def _arrange(self) -> None:
        self._world.reset(self.get_parameter('state').value)
        self._command = self._action = None
        self._actions = []
        self._tick = self._succeeded_after = 0
        self._outputs.forget()
        self._schedule.begin()
        self._advance_time(0)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Arrange what the parameters ``world`` and ``state`` name; return the instruction."""
        try:
            task = TaskName.parse(self.get_parameter('world').value)
            if task != self._world.task:
                self._world.close()
                self._world = LiberoWorld(task)
                self._outputs.describe(self._world)
            self._arrange()
            response.success, response.message = True, self._world.instruction
        except VlaError as error:
            response.success, response.message = False, str(error)
        return response

    def _on_success(self, request: Trigger.Request,
                    response: Trigger.Response) -> Trigger.Response:
        """Return whether the benchmark's predicate was true since the reset."""
        response.success = self._succeeded_after > 0
        response.message = (f'{self._world.task}: after '
                            f'{self._succeeded_after or self._schedule.executed(_TICKS)} '
                            'actions')
        return response


def main() -> int:
    """Run the robot until it is interrupted."""
    parser = node_parser('vla_sim', 'The Panda of the LIBERO benchmark.', PARAMETERS)
    parser.add_argument('--world', required=True, metavar='SUITE/TASK')
    parser.add_argument('--controller', choices=CONTROLLERS, default='joint')
    with signals_collected() as signals, ExitStack() as cleanup:
        cleanup.callback(rclpy.try_shutdown)
        try:
            own = start_ros(parser, _with_world(sys.argv))
            node = LiberoNode(own.controller)
            cleanup.callback(node.destroy_node)
        except (VlaError, ParameterException) as error:
            print(f'vla_sim: {error}', file=sys.stderr)
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not signals:
            executor.spin_once(timeout_sec=node.advance())
        executor.shutdown(timeout_sec=0.0)
    return 0


def _with_world(words: list[str]) -> list[str]:
    """Return the word behind ``--world`` as the node's parameter, too."""
    own = words[:words.index('--ros-args')] if '--ros-args' in words else words
    world = next((word.partition('=')[2] or following
                  for word, following in zip(own, [*own[1:], ''])
                  if word == '--world' or word.startswith('--world=')), '')
    rest = words[len(own):] or ['--ros-args']
    return [*own, *rest, '-p', f'world:={world}'] if world else words


if __name__ == '__main__':
    sys.exit(main())
