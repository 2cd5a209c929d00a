# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node of ``vla_teleop``: says what a device says, many times a second."""

import math
import time
from typing import Any

from geometry_msgs.msg import TwistStamped
from geometry_msgs.msg import Vector3
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_ros.control.parameter import Parameter
from vla_ros.robot.description import load_robot
from vla_ros.ros.arguments import declare
from vla_ros.ros.qos import NEWEST
from vla_ros.ros.teleop_input import DEADMAN_TOPIC
from vla_ros.ros.teleop_input import JOINT_TOPIC
from vla_ros.ros.teleop_input import TWIST_TOPIC
from vla_ros.teleop.gamepad import Gamepad
from vla_ros.teleop.gamepad import GamepadMap
from vla_ros.teleop.intent import Device
from vla_ros.teleop.intent import Intent
from vla_ros.teleop.keyboard import Keyboard
from vla_ros.teleop.leader import Leader

DEVICES = ('keyboard', 'gamepad', 'leader')
#: Seconds for which a service is looked for: on a busy machine topics may be found long before it.
_DISCOVERY = 2.0
PARAMETERS = (
    Parameter('robot.file', 'six_axis_arm', 'The robot, as the parameter robot.file of '
              'vla_inference_node has it.'),
    Parameter('node', 'vla_inference_node', 'Name of the inference node, whose ~/resume is '
              'called.'),
    Parameter('rate', 30.0, 'Messages a second.', minimum=10.0, maximum=200.0),
    Parameter('frame', 'base', "Whose axes a twist means: the robot's base_frame or tip_frame.",
              choices=('base', 'tip')),
    Parameter('speed.linear', 0.1, 'Largest speed of the tip along an axis, m/s.', minimum=0.001,
              maximum=2.0),
    Parameter('speed.angular', 0.5, 'Largest speed of the tip about an axis, rad/s.',
              minimum=0.001, maximum=6.0),
    Parameter('keyboard.timeout', 3.0, 'Seconds without a key after which the keyboard releases.',
              minimum=0.5, maximum=60.0),
    Parameter('joy.deadman', 4, 'Button of the gamepad that is the deadman.', minimum=0,
              maximum=63),
    Parameter('joy.gripper', 5, 'Button that closes and opens the gripper in turn; -1 for none.',
              minimum=-1, maximum=63),
    Parameter('joy.resume', 7, 'Button that lets the policy go on; -1 for none.', minimum=-1,
              maximum=63),
    Parameter('joy.axes', (1.0, 0.0, 4.0, 6.0, 7.0, 3.0), 'Axis of the gamepad for x, y, z, '
              'roll, pitch and yaw of the tip; -1 for none.'),
    Parameter('joy.scales', (1.0,) * 6, 'Factor of each, -1 to 1.'),
    Parameter('joy.dead_zone', 0.1, 'Below it an axis is at rest.', minimum=0.0, maximum=0.9),
    Parameter('joy.timeout', 0.2, 'Seconds for which a message of the gamepad counts.',
              minimum=0.05, maximum=2.0),
    Parameter('leader.joints', ('',), "Names of the leader's joints, one for each of the robot's "
              "arm, then of grippers; empty where they are the robot's."),
    Parameter('leader.signs', (math.nan,), '1 or -1 for each; empty (.nan) for 1.'),
    Parameter('leader.offsets', (math.nan,), 'Added to each, rad or m; empty (.nan) for 0.'),
    Parameter('leader.timeout', 0.2, "Seconds for which the leader's positions count.",
              minimum=0.02, maximum=2.0),
)


class TeleopNode(Node):
    """Publishes deadman and commands; whoever reads the device tells it by :attr:`device`."""

    def __init__(self, device: str) -> None:
        """
        Wire a device.

        :param device: one of :data:`DEVICES`.
        :raises VlaError: a parameter cannot be used.
        """
        super().__init__('vla_teleop')
        values: dict[str, Any] = declare(self, PARAMETERS)
        self._values = values
        self._robot = load_robot(values['robot.file'])
        #: The keys, of a keyboard.
        self.keyboard = Keyboard(values['keyboard.timeout'])
        self._device: Device = self.keyboard
        if device != 'keyboard':
            self._device = gamepad = self._make_gamepad()
            if device == 'leader':
                self._device = self._make_leader(gamepad)
        self._frame = (self._robot.base_frame if values['frame'] == 'base' else
                       self._robot.tip_frame)
        # Reliable, which a listener of either kind receives.
        self._deadman = self.create_publisher(Bool, DEADMAN_TOPIC, 10)
        self._joints = self.create_publisher(JointState, JOINT_TOPIC, 10)
        self._twists = self.create_publisher(TwistStamped, TWIST_TOPIC, 10)
        self._resume = self.create_client(Trigger, f'{values["node"]}/resume')
        #: Until when the policy is to be let go on, monotonic seconds; None: it is not.
        self._resume_by: float | None = None
        # By the steady clock: a simulated one may stand still while the deadman is released.
        self.create_timer(1.0 / values['rate'], self.send,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def send(self) -> None:
        """Publish the command of the devices."""
        now = time.monotonic()
        intent = self._device.read(now)
        self._deadman.publish(Bool(data=intent.is_held))
        if intent.resumes:
            self._resume_by = now + _DISCOVERY
        if intent.is_held:
            self._resume_by = None
            self._command(intent)
        if self._resume_by is not None:
            self._ask_to_resume(now > self._resume_by)

    def _command(self, intent: Intent) -> None:
        stamp = self.get_clock().now().to_msg()
        named = dict(intent.joints)
        if intent.opening is not None:
            named.update({gripper.joint: gripper.position(intent.opening)
                          for gripper in self._robot.grippers})
        if named:
            message = JointState(name=list(named), position=list(named.values()))
            message.header.stamp = stamp
            self._joints.publish(message)
        if not intent.joints:
            twist = TwistStamped()
            twist.header.stamp, twist.header.frame_id = stamp, self._frame
            linear, angular = self._values['speed.linear'], self._values['speed.angular']
            x, y, z, roll, pitch, yaw = intent.axes
            twist.twist.linear = Vector3(x=linear * x, y=linear * y, z=linear * z)
            twist.twist.angular = Vector3(x=angular * roll, y=angular * pitch, z=angular * yaw)
            self._twists.publish(twist)

    def _ask_to_resume(self, is_late: bool) -> None:
        if self._resume.service_is_ready():
            self._resume_by = None
            self._resume.call_async(Trigger.Request()).add_done_callback(self._log_resumed)
        elif is_late:
            self._resume_by = None
            self.get_logger().error(f'{self._resume.srv_name} is not there: does the node run, '
                                    'with teleop.enabled?')

    def _log_resumed(self, future: Any) -> None:
        response = future.result()
        self.get_logger().info('the policy goes on' if response.success else
                               f'the policy does not go on: {response.message}')

    def _make_gamepad(self) -> Gamepad:
        values = self._values
        gamepad = Gamepad(GamepadMap(
            values['joy.deadman'], values['joy.gripper'], values['joy.resume'],
            values['joy.axes'], values['joy.scales'], values['joy.dead_zone'],
            values['joy.timeout']))
        self.create_subscription(Joy, 'joy', lambda message: gamepad.take(
            message.axes, message.buttons, time.monotonic()), NEWEST)
        return gamepad

    def _make_leader(self, gamepad: Gamepad) -> Leader:
        values = self._values
        leader = Leader(self._robot, values['leader.joints'], values['leader.signs'],
                        values['leader.offsets'], values['leader.timeout'], gamepad)
        self.create_subscription(JointState, 'leader/joint_states', lambda message: leader.take(
            message.name, message.position, time.monotonic()), NEWEST)
        return leader
