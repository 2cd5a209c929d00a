# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_sim``: a simulated arm with the ROS interface of a real one: camera and controller."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
import sys
import time
from typing import Any

from builtin_interfaces.msg import Time
import numpy as np
import rclpy
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.control.parameter import Parameter
from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.errors import VlaError
from vla_ros.ros.arguments import declare
from vla_ros.ros.arguments import node_parser
from vla_ros.ros.arguments import start_ros
from vla_ros.ros.messages import VlaAction
from vla_ros.ros.qos import ESTOP_PROFILES
from vla_ros.ros.qos import LATCHED
from vla_ros.ros.qos import NEWEST
from vla_ros.ros.qos import RELIABLE
from vla_ros.sim.camera_driver import CameraDriver
from vla_ros.sim.real_time_factor import FASTEST
from vla_ros.sim.real_time_factor import RealTimeFactor
from vla_ros.util.packages import missing_package
from vla_ros.util.signals import signals_collected
from vla_ros.worlds.libero.environment import replace_process
from vla_ros.worlds.robot import JOINTS
from vla_ros.worlds.robot import Robot
from vla_ros.worlds.scene import draw_scene
from vla_ros.worlds.scene import LARGEST_SEED
from vla_ros.worlds.tasks import SuccessDetector
from vla_ros.worlds.tasks import Task
from vla_ros.worlds.tasks import TaskError


PARAMETERS = (
    Parameter('seed', 0, 'The scene that is arranged at the start and by ~/reset.',
              minimum=0, maximum=LARGEST_SEED, read_only=False),
    Parameter('frame_id', 'camera_color_optical_frame', 'Frame of the images.'),
    Parameter('publish_clock', False, 'Publish simulated time on /clock, and stamp by it.'),
    Parameter('speed', 1.0, 'Real-time factor of the simulation; other than 1 only with '
              'publish_clock.', minimum=0.01, maximum=FASTEST),
    Parameter('result_within', 0.0, 'Simulated seconds after which time waits for the result of '
              'an image; 0: it never waits. Only with publish_clock.', minimum=0.0, maximum=10.0))

#: Seconds of simulated time between two joint states, and between two images.
JOINT_PERIOD, CAMERA_PERIOD = 0.01, 1 / 30
#: Simulated seconds after a reset without a wait for results.
_GRACE = 0.3
#: Arms of one process.
MOST_ARMS = 8
#: Seconds between two checks whether a step is due.
_TIMER_PERIOD = 0.002


class SimNode(Node):
    """Runs the world in real time, or at the factor of its parameters."""

    def __init__(self, namespace: str = '') -> None:
        """
        Build the world and arrange the first scene.

        :param namespace: of the node and its topics; empty for that of the command line.
        :raises VlaError: a parameter cannot be used, or nothing can be drawn on this machine.
        """
        super().__init__('vla_sim', namespace=namespace or None)
        values: dict[str, Any] = declare(self, PARAMETERS)
        publishes_clock = values['publish_clock']
        self._real_time = _choose_factor(values['speed'], values['result_within'], publishes_clock)
        self._world = _make_world()
        self._world.render()  # fails here if nothing can be rendered
        self._task: Task | None = None
        self._detector: SuccessDetector | None = None
        self._judged_since = 0.0
        # Simulated time goes on when a scene is arranged anew: /clock must never jump back.
        self._elapsed = 0.0
        self._next_image = 0.0
        # Topics on which an emergency stop is pressed.
        self._pressed: set[str] = set()
        self._joint_state = JointState(name=list(JOINTS))
        self._camera = CameraDriver(self, self._world.image_size, self._world.camera_matrix(),
                                    values['frame_id'])
        self._wire(publishes_clock)
        self._arrange()

    @property
    def publishes_clock(self) -> bool:
        """Whether this node publishes the simulated time."""
        return self._clock_messages is not None

    def _wire(self, publishes_clock: bool) -> None:
        self._joint_states = self.create_publisher(JointState, 'joint_states', NEWEST)
        self._clock_messages = (self.create_publisher(ClockMessage, '/clock', 10)
                                if publishes_clock else None)
        self._descriptions = self.create_publisher(String, 'robot_description', LATCHED)
        self._descriptions.publish(String(data=self._world.robot.urdf))
        self.create_subscription(JointState, 'arm/joint_command', self._on_command, RELIABLE)
        # The arm's own emergency stop, and in a namespace the one that all arms share.
        for topic in dict.fromkeys(map(self.resolve_topic_name, ('arm/estop', '/arm/estop'))):
            for profile in ESTOP_PROFILES:
                self.create_subscription(Bool, topic, partial(self._on_estop, topic), profile)
        self.create_subscription(String, 'vla/instruction', self._on_instruction, RELIABLE)
        if VlaAction is not None:
            # Comes with each result; a command comes only after simulated time has advanced.
            self.create_subscription(VlaAction, 'vla/action', self._on_action, RELIABLE)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_service(Trigger, '~/success', self._on_success)
        # Steady clock: this node makes the simulated time.
        self.create_timer(_TIMER_PERIOD, self._on_timer,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _arrange(self) -> None:
        """Arrange the scene of the seed; the block that the task names is in it."""
        seed: int = self.get_parameter('seed').value
        colors = (self._task.color,) if self._task else ()
        self._world.reset(draw_scene(seed, colors))
        # The node is still being activated.
        self._real_time.result(self._elapsed + _GRACE)
        self._restart_detection()

    def _restart_detection(self) -> None:
        self._judged_since = self._elapsed
        self._detector = (SuccessDetector(self._task, self._world.state())
                          if self._task else None)

    def _on_timer(self) -> None:
        for _ in range(self._real_time.due(time.monotonic(), self._elapsed)):
            self._step()

    def _step(self) -> None:
        self._world.step(JOINT_PERIOD)
        self._elapsed += JOINT_PERIOD
        stamp = self._stamp()
        if self._detector is not None:
            self._detector.observe(self._world.state())
        self._joint_state.header.stamp = stamp
        self._joint_state.position = self._world.joint_positions().tolist()
        self._joint_state.velocity = self._world.joint_velocities().tolist()
        self._joint_states.publish(self._joint_state)
        if self._elapsed >= self._next_image - 1e-9:
            self._next_image += CAMERA_PERIOD
            self._camera.publish(self._world.render(), stamp)

    def _stamp(self) -> Time:
        """Return the stamp of the messages, and publish it on /clock where that is set."""
        if self._clock_messages is None:
            return self.get_clock().now().to_msg()
        nanoseconds = round(self._elapsed * 1e9)
        stamp = Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        self._clock_messages.publish(ClockMessage(clock=stamp))
        return stamp

    def _on_command(self, message: JointState) -> None:
        if self._pressed:
            return
        named = dict(zip(message.name, message.position))
        target = np.array([named.get(name, position) for name, position in
                           zip(JOINTS, self._world.joint_positions())])
        if not np.isfinite(target).all():
            self.get_logger().warning('a command that is not finite is not followed',
                                      throttle_duration_sec=1.0)
            return
        limits = self._world.robot.limits()
        self._world.command(np.clip(target, limits[:, 0], limits[:, 1]))

    def _on_action(self, message: Any) -> None:
        self._real_time.result(message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec)

    def _on_estop(self, topic: str, message: Bool) -> None:
        # A drive obeys the emergency stop itself, whatever is commanded.
        (self._pressed.add if message.data else self._pressed.discard)(topic)
        if message.data:
            self._world.stop()

    def _on_instruction(self, message: String) -> None:
        try:
            task = Task.parse(message.data)
        except TaskError as error:
            self.get_logger().warning(f'not judged: {error}')
            self._task = self._detector = None
            return
        if task != self._task:
            self._task = task
            self._restart_detection()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Arrange the scene of the parameter ``seed``."""
        self._arrange()
        response.success = True
        response.message = f'seed {self.get_parameter("seed").value}'
        return response

    def _on_success(self, request: Trigger.Request,
                    response: Trigger.Response) -> Trigger.Response:
        """Return whether the task was done since the reset or the last new instruction."""
        detector = self._detector
        response.success = detector is not None and detector.succeeded
        passed = f'after {self._elapsed - self._judged_since:.2f} s'
        if detector is None:
            response.message = 'no task: no instruction with a task was received'
        elif detector.decided is None:
            response.message = f'{detector.task.instruction}: not yet, {passed}'
        else:
            response.message = (f'{detector.task.instruction}: it happened to the '
                                f'{detector.decided} block, {passed}')
        return response

    def open_viewer(self, cleanup: ExitStack) -> None:
        """
        Show the world in MuJoCo's window, too.

        :raises UnsupportedError: there is no display.
        """
        viewer = cleanup.enter_context(self._world.open_viewer())
        self.create_timer(CAMERA_PERIOD, viewer.sync,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))


def _choose_factor(speed: float, within: float, publishes_clock: bool) -> RealTimeFactor:
    if (speed != 1.0 or within) and not publishes_clock:
        name, value = ('result_within', within) if within else ('speed', speed)
        raise ParameterError(name, value, f'{0.0 if within else 1.0} where publish_clock is '
                             'false: other nodes would run at another speed')
    if within and VlaAction is None:
        raise UnsupportedError('result_within', 'vla_ros_msgs is not built',
                               'colcon build --base-paths . msg')
    return RealTimeFactor(JOINT_PERIOD, speed, within)


def _make_world() -> Any:
    try:
        from vla_ros.worlds.world import World
    except ImportError as error:
        raise missing_package('simulation', error) from None
    return World(Robot.load())


def _make_arms(make: Callable[..., SimNode], count: int) -> Iterator[SimNode]:
    """
    Make the node of each arm, in the namespaces arm1, arm2 …; without one if it is the only one.

    :raises ParameterError: the number is out of range, or the arms would not share a clock.
    """
    if not 1 <= count <= MOST_ARMS:
        raise ParameterError('--arms', count, f'1 to {MOST_ARMS}')
    if count == 1:
        yield make()
        return
    for number in range(1, count + 1):
        node = make(f'arm{number}')
        yield node
        if node.publishes_clock:
            raise ParameterError('publish_clock', True, 'false with several arms: each would '
                                 'publish a time of its own')


def main(make: Callable[..., SimNode] = SimNode) -> int:
    """Run the simulator until it is interrupted."""
    parser = node_parser('vla_sim', 'A simulated arm on a table with coloured blocks.', PARAMETERS)
    parser.add_argument('--arms', type=int, default=1, metavar='N',
                        help='number of arms, each at its own table, in the namespaces arm1, '
                             'arm2 …')
    parser.add_argument('--viewer', action='store_true', help="open MuJoCo's window")
    parser.add_argument('--world', metavar='SUITE/TASK', help='a task of the LIBERO benchmark '
                        'instead, such as libero_spatial/3 (docs/libero.md)')
    parser.add_argument('--controller', choices=('joint', 'osc'), help='of that world: follow '
                        "joint commands, or the benchmark's own controller")
    if any(word == '--world' or word.startswith('--world=') for word in sys.argv[1:]):
        return _run_world(sys.argv[1:])
    with signals_collected() as signals, ExitStack() as cleanup:
        cleanup.callback(rclpy.try_shutdown)
        try:
            own = start_ros(parser)
            if own.controller:
                raise ParameterError('--controller', own.controller, 'left out without --world')
            nodes = []
            for node in _make_arms(make, own.arms):
                cleanup.callback(node.destroy_node)
                nodes.append(node)
                if own.viewer:
                    node.open_viewer(cleanup)
        except (VlaError, ParameterException) as error:
            print(f'vla_sim: {error}', file=sys.stderr)
            return 2
        executor = rclpy.executors.SingleThreadedExecutor()
        for node in nodes:
            executor.add_node(node)
        while not signals:
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown(timeout_sec=0.0)
    return 0


def _run_world(words: list[str]) -> int:
    """Continue as a process of the benchmark's own environment."""
    try:
        replace_process(words)
    except VlaError as error:
        print(f'vla_sim: {error}', file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
