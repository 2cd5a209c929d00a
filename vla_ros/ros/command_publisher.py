# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Publishes commands as the message that the arm's driver understands."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from builtin_interfaces.msg import Duration
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from geometry_msgs.msg import Vector3
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory
from trajectory_msgs.msg import JointTrajectoryPoint

from vla_ros.motion.arm import ArmCommand
from vla_ros.ros.qos_events import PublisherEventCallbacks

#: For publishers that report no incompatible QoS: by default each brings two events, and executors
#: check every one of them before each wait.
QUIET = PublisherEventCallbacks(use_default_callbacks=False)


class CommandPublisher:
    """Publishers for the arm and its grippers, and for the shadow beside each."""

    def __init__(self, node: Node, output: str, grippers: str, qos: QoSProfile,
                 refuse: Callable[[str, Any], None]) -> None:
        """
        Make the publishers.

        :param output: one of :data:`vla_ros.control.parameters.OUTPUTS`.
        :param grippers: ``together`` with the arm, ``none``, or the output that they are given.
        :param refuse: called with the topic and the event when a listener's QoS are incompatible.
        """
        self._node = node
        self._are_together = grippers == 'together'
        self._arm = _Publishers(node, 'arm/joint_command', output, qos, refuse)
        self._grippers = None
        if grippers not in ('together', 'none'):
            self._grippers = _Publishers(node, 'gripper/joint_command', grippers, qos, refuse)

    def joint_state(self, header: Header | None, names: Sequence[str],
                    positions: Sequence[float], is_shadow: bool) -> None:
        """
        Publish bare positions, where the output is a joint state.

        :param header: of the image that it was inferred from; None for a hold.
        """
        header = header or Header(stamp=self._node.get_clock().now().to_msg())
        self._arm.publish(JointState(header=header, name=list(names), position=list(positions)),
                          is_shadow)

    def motion(self, command: ArmCommand, header: Header | None, stamp: int) -> None:
        """
        Publish what the arm is to do now.

        :param header: of the image that it was inferred from; None for a hold.
        :param stamp: nanoseconds of ROS time that the command was planned for.
        """
        present = Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9))
        self._arm.send(_Part(command, slice(None if self._are_together else command.arm),
                             header or present, present))
        grippers = slice(command.arm, None)
        if self._grippers is not None and command.names[grippers]:
            self._grippers.send(_Part(command, grippers, header or present, present))


@dataclass(frozen=True)
class _Part:
    """
    The content of one message.

    :param joints: which of the command's.
    :param image: header of the image that it was inferred from.
    :param present: stamp that the command was planned for.
    """

    command: ArmCommand
    joints: slice
    image: Header
    present: Header

    @property
    def names(self) -> list[str]:
        """The joints, in the order of every array."""
        return list(self.command.names[self.joints])


class _Publishers:
    """One topic in the form of one output, and its shadow."""

    def __init__(self, node: Node, topic: str, output: str, qos: QoSProfile,
                 refuse: Callable[[str, Any], None]) -> None:
        message_type, self._fill, self._has_last = _OUTPUTS[output]
        self._real = node.create_publisher(
            message_type, topic, qos, event_callbacks=PublisherEventCallbacks(
                incompatible_qos=partial(refuse, topic), use_default_callbacks=False))
        self._shadow = node.create_publisher(message_type, f'{topic}/shadow', qos,
                                             event_callbacks=QUIET)

    def send(self, part: _Part) -> None:
        """Publish a part of a command; the last one only where a controller would go on."""
        if self._has_last or not part.command.is_last:
            self.publish(self._fill(part), part.command.is_shadow)

    def publish(self, message: Any, is_shadow: bool) -> None:
        """Publish a message."""
        (self._shadow if is_shadow else self._real).publish(message)


def _joint_state(part: _Part) -> JointState:
    setpoint = part.command.setpoint
    return JointState(header=part.image, name=part.names,
                      position=setpoint.positions[part.joints].tolist(),
                      velocity=setpoint.velocities[part.joints].tolist())


def _joint_trajectory(part: _Part) -> JointTrajectory:
    # Stamped, and from the setpoint of that moment on: so a controller finds its place on the
    # curve whenever the message arrives, and need not begin from where the arm was measured.
    ahead = part.command.lookahead
    assert ahead is not None, 'asked for when the arm was built'
    points = [
        JointTrajectoryPoint(positions=positions, velocities=velocities,
                             accelerations=accelerations,
                             time_from_start=Duration(sec=time // 10**9, nanosec=time % 10**9))
        for time, positions, velocities, accelerations in zip(
            np.rint(1e9 * ahead.times).astype(int).tolist(),
            ahead.positions[:, part.joints].tolist(), ahead.velocities[:, part.joints].tolist(),
            ahead.accelerations[:, part.joints].tolist())]
    header = Header(stamp=part.present.stamp, frame_id=part.image.frame_id)
    return JointTrajectory(header=header, joint_names=part.names, points=points)


def _position_array(part: _Part) -> Float64MultiArray:
    return Float64MultiArray(data=part.command.setpoint.positions[part.joints].tolist())


def _twist(part: _Part) -> TwistStamped:
    twist = part.command.twist
    assert twist is not None, 'asked for when the arm was built'
    # Stamped with the present: MoveIt Servo drops what is older than its timeout.
    message = TwistStamped(header=Header(stamp=part.present.stamp,
                                         frame_id=part.command.base_frame))
    linear, angular = twist[:3].tolist(), twist[3:].tolist()
    message.twist.linear = Vector3(x=linear[0], y=linear[1], z=linear[2])
    message.twist.angular = Vector3(x=angular[0], y=angular[1], z=angular[2])
    return message


#: Message type, what fills it, and whether its consumer goes on moving by the last one.
_OUTPUTS: dict[str, tuple[Any, Callable[[_Part], Any], bool]] = {
    'joint_state': (JointState, _joint_state, False),
    'joint_trajectory': (JointTrajectory, _joint_trajectory, True),
    'position_array': (Float64MultiArray, _position_array, False),
    'twist': (TwistStamped, _twist, True)}
