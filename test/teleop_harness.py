# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A teleoperator of the arm of :mod:`arm_harness`, and the commands of that arm."""

from collections.abc import Callable
from typing import Any

from arm_harness import JOINTS
from arm_harness import Robot
from geometry_msgs.msg import TwistStamped
from node_harness import NEWEST
from node_harness import RELIABLE
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

#: Delay in s with which a planned command may be sent on a busy machine.
_LATE = 0.05


class Teleoperator:
    """Publishes a deadman and a command at 50 Hz."""

    def __init__(self, arm: Robot, node: Node | None = None) -> None:
        """
        Join the graph with the deadman released.

        :param node: the node that publishes; that of the observer if None.
        """
        self.arm = arm
        self.node = node = arm.observer.node if node is None else node
        #: State of the deadman; None if nothing is published.
        self.deadman: bool | None = False
        #: Returns the next message, or None.
        self.command: Callable[[], Any] = lambda: None
        self._deadman = node.create_publisher(Bool, '/teleop/deadman', RELIABLE)
        self._commands = {
            JointState: node.create_publisher(JointState, '/teleop/joint_command', NEWEST),
            TwistStamped: node.create_publisher(TwistStamped, '/teleop/twist', NEWEST)}
        self.released = 0
        arm.observer.node.create_timer(0.02, self._send)

    def _send(self) -> None:
        message = self.command()
        if message is not None:
            self._commands[type(message)].publish(message)
        if self.deadman is not None:
            self._deadman.publish(Bool(data=self.deadman))
            self.released += not self.deadman

    def press(self) -> None:
        """Release the deadman, and press it after the release was sent."""
        arm = self.arm
        for publisher in (self._deadman, *self._commands.values()):
            arm.observer.wait_for_match(publisher, arm.node)
        self.deadman = False
        with arm.observer.changed:
            sent = self.released
        arm.observer.wait(lambda: self.released > sent + 5, 'a release', arm.node)
        self.deadman = True

    def take_over(self) -> None:
        """Press the deadman, and wait for the takeover."""
        self.press()
        self.wait_for('TAKEOVER')

    def release(self) -> None:
        """Release the deadman, and wait until the arm is paused."""
        self.deadman = False
        self.command = lambda: None
        self.wait_for('PAUSED')

    def resume(self) -> Trigger.Response:
        """Let the policy resume."""
        return self.arm.call('resume')

    def wait_for(self, mode: str) -> None:
        """Wait for a control mode."""
        statuses = self.arm.observer.diagnostics
        self.arm.observer.wait(lambda: statuses and statuses[-1]['control mode'] == mode, mode,
                               self.arm.node)

    def hold_still(self) -> None:
        """Command the present positions of the arm."""
        here = self.arm.vector()
        self.command = lambda: joints(here)

    def go(self, offset: Any) -> np.ndarray:
        """Command a motion by this offset, like a leader arm; return its end."""
        start, steps = self.arm.vector(), iter(np.linspace(0.0, 1.0, 20).tolist() + [1.0] * 100000)
        end: np.ndarray = start + offset
        self.command = lambda: joints(start + next(steps) * (end - start))
        return end


def assert_rests(arm: Robot) -> None:
    """Wait until the arm rests, and check that its commands hold it and have no frame."""
    def rests() -> bool:
        positions = np.array([command.position for _, command in arm.commands[-20:]])
        return bool(np.ptp(positions, axis=0).max() < 1e-9)

    arm.wait_for_commands(20)
    arm.observer.wait(rests, 'rest', arm.node)
    commands = arm.wait_for_commands(20)
    assert rests() and commands[0].header.frame_id == ''


def joints(positions: Any, names: Any = JOINTS) -> JointState:
    """Make a command for joints."""
    return JointState(name=list(names), position=[float(value) for value in positions])


def twist(frame: str, **linear: float) -> TwistStamped:
    """Make a velocity of the tip along axes of a frame."""
    message = TwistStamped()
    message.header.frame_id = frame
    for axis, value in linear.items():
        setattr(message.twist.linear, axis, value)
    return message


class Commanded:
    """Every command with its time of sending, by the clock of the sender."""

    def __init__(self, arm: Robot) -> None:
        self.received: list[tuple[float, JointState]] = []
        arm.observer.listen_with_info(
            JointState, '/arm/joint_command', RELIABLE,
            lambda message, info: self.received.append((info['source_timestamp'] * 1e-9, message)))

    def assert_smooth(self, limits: Any) -> None:
        """Check that positions and velocities do not jump and stay within their limits."""
        received = list(self.received)  # the list grows meanwhile
        times = np.array([time for time, _ in received])
        positions = np.array([message.position for _, message in received])
        velocities = np.array([message.velocity for _, message in received])
        assert len(times) > 30
        assert (positions >= limits.lower).all() and (positions <= limits.upper).all()
        assert (np.abs(velocities) <= limits.velocity).all()
        spans = (np.diff(times) + _LATE)[:, None]
        speeds = np.maximum(np.abs(velocities[1:]), np.abs(velocities[:-1]))
        reach = (speeds + limits.acceleration * spans) * spans
        assert (np.abs(np.diff(positions, axis=0)) <= reach).all(), 'a jump of the positions'
        assert (np.abs(np.diff(velocities, axis=0)) <= limits.acceleration * spans).all(), \
            'a jump of the velocities'
