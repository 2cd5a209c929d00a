# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Publishes commands as the message that the arm's driver understands."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Optional

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import TwistStamped
from geometry_msgs.msg import Vector3
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory
from trajectory_msgs.msg import JointTrajectoryPoint

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

from vla_ros.motion.arm import ArmCommand

#: For publishers of which nobody needs to be told that a listener's QoS do not fit: by default
#: each brings two events, and executors look at every one of them before each wait.
QUIET = PublisherEventCallbacks(use_default_callbacks=False)


class CommandPublisher:
    """One publisher for the arm, and one for the shadow beside it."""

    def __init__(self, node: Node, output: str, qos: QoSProfile, **event_callbacks: Any) -> None:
        """
        Make the publishers.

        :param output: one of :data:`vla_ros.parameters.OUTPUTS`.
        """
        message_type, self._fill = _OUTPUTS[output]
        self._node = node
        self._arm = node.create_publisher(message_type, 'arm/joint_command', qos,
                                          **event_callbacks)
        self._shadow = node.create_publisher(message_type, 'arm/joint_command/shadow', qos,
                                             event_callbacks=QUIET)

    def joint_state(self, header: Optional[Header], names: Sequence[str],
                    positions: Sequence[float], is_shadow: bool) -> None:
        """
        Publish bare positions, where the output is a joint state.

        :param header: of the image that is answered; None for a command that answers none.
        """
        self._publish(JointState(header=header or self._now(), name=list(names),
                                 position=list(positions)), is_shadow)

    def motion(self, command: ArmCommand, header: Optional[Header], is_shadow: bool) -> None:
        """Publish what the arm is to do now."""
        self._publish(self._fill(command, header or self._now(), self._now()), is_shadow)

    def _publish(self, message: Any, is_shadow: bool) -> None:
        (self._shadow if is_shadow else self._arm).publish(message)

    def _now(self) -> Header:
        return Header(stamp=self._node.get_clock().now().to_msg())


def _joint_state(command: ArmCommand, header: Header, now: Header) -> JointState:
    return JointState(header=header, name=list(command.names),
                      position=command.setpoint.positions.tolist(),
                      velocity=command.setpoint.velocities.tolist())


def _joint_trajectory(command: ArmCommand, header: Header, now: Header) -> JointTrajectory:
    # Without a stamp, which means "from now on": with that of the image, the point would lie in
    # the past, and joint_trajectory_controller drops such points.
    point = JointTrajectoryPoint(
        positions=command.setpoint.positions.tolist(),
        velocities=command.setpoint.velocities.tolist(),
        time_from_start=Duration(nanosec=round(1e9 * command.seconds)))
    return JointTrajectory(header=Header(frame_id=header.frame_id),
                           joint_names=list(command.names), points=[point])


def _position_array(command: ArmCommand, header: Header, now: Header) -> Float64MultiArray:
    return Float64MultiArray(data=command.setpoint.positions.tolist())


def _twist(command: ArmCommand, header: Header, now: Header) -> TwistStamped:
    assert command.twist is not None, 'asked for when the arm was built'
    # Stamped with the present: MoveIt Servo drops what is older than its timeout.
    message = TwistStamped(header=Header(stamp=now.stamp, frame_id=command.base_frame))
    linear, angular = command.twist[:3].tolist(), command.twist[3:].tolist()
    message.twist.linear = Vector3(x=linear[0], y=linear[1], z=linear[2])
    message.twist.angular = Vector3(x=angular[0], y=angular[1], z=angular[2])
    return message


_OUTPUTS: dict[str, tuple[Any, Callable[[ArmCommand, Header, Header], Any]]] = {
    'joint_state': (JointState, _joint_state),
    'joint_trajectory': (JointTrajectory, _joint_trajectory),
    'position_array': (Float64MultiArray, _position_array),
    'twist': (TwistStamped, _twist)}
