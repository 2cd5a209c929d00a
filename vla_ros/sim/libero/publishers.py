# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the robot publishes: images, joint states, its description, and what an expert sees."""

from array import array
from collections import deque

from builtin_interfaces.msg import Time
import numpy as np
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import String

from vla_ros.errors import UnsupportedError
from vla_ros.ros.qos import LATCHED
from vla_ros.ros.qos import NEWEST
from vla_ros.ros.qos import RELIABLE
from vla_ros.worlds.libero.robot import JOINTS
from vla_ros.worlds.libero.robot import write_urdf
from vla_ros.worlds.libero.world import CAMERAS
from vla_ros.worlds.libero.world import LiberoWorld

_TOPICS = dict(zip(CAMERAS, ('/camera/image_raw', '/camera/wrist/image_raw')))


class Publishers:
    """Publishes in simulated time; an image goes out when it is as old as it is to be."""

    def __init__(self, node: Node, world: LiberoWorld) -> None:
        """Make the publishers of a node, and describe the robot."""
        self._logger = node.get_logger()
        # Reliable, so that a paused simulation loses nothing; best-effort subscribers match, too.
        self._images = {camera: node.create_publisher(Image, topic, RELIABLE)
                        for camera, topic in _TOPICS.items()}
        self._joint_state = JointState(name=list(JOINTS))
        self._joint_states = node.create_publisher(JointState, '/joint_states', NEWEST)
        self._clock = node.create_publisher(Clock, '/clock', 10)
        self._descriptions = node.create_publisher(String, '/robot_description', LATCHED)
        self._proprio = node.create_publisher(Float64MultiArray, '~/proprio', RELIABLE)
        self._situation = node.create_publisher(Float64MultiArray, '~/situation', RELIABLE)
        self._late: deque[tuple[float, Time, list]] = deque()
        self._last: list = []
        self.describe(world)

    def describe(self, world: LiberoWorld) -> None:
        """Publish the URDF of a world's robot."""
        self._descriptions.publish(String(data=write_urdf(world.model)))

    def forget(self) -> None:
        """Publish no image of what was before."""
        self._late.clear()
        self._last = []

    def joint_states(self, world: LiberoWorld, elapsed: float, clock: bool = False) -> None:
        """Publish where the joints are, and before that the time, if it has passed."""
        stamp = _stamp(elapsed)
        if clock:
            self._clock.publish(Clock(clock=stamp))
        self._joint_state.header.stamp = stamp
        self._joint_state.position = world.joint_positions().tolist()
        self._joint_state.velocity = world.joint_velocities().tolist()
        self._joint_states.publish(self._joint_state)

    def take(self, world: LiberoWorld, elapsed: float, due: float) -> None:
        """Capture images and states now and publish them at a later simulated time."""
        stamp = _stamp(elapsed)
        messages = [(self._proprio, _array(world.proprio()))]
        if self._situation.get_subscription_count():
            try:
                messages.append((self._situation, _array(world.state())))
            except UnsupportedError as error:
                self._logger.error(str(error), throttle_duration_sec=5.0)
        # The main image last: at its inference all other inputs are there.
        for camera, publisher in reversed(self._images.items()):
            if camera == CAMERAS[0] or publisher.get_subscription_count():
                messages.append((publisher, _image(world.render(camera), stamp, camera)))
        self._late.append((due, stamp, messages))

    def publish_due(self, elapsed: float) -> int | None:
        """
        Publish what is old enough.

        :returns: stamp of an image that went out, ns.
        """
        stamp = None
        while self._late and self._late[0][0] <= elapsed + 1e-9:
            _, taken, self._last = self._late.popleft()
            self.repeat()
            stamp = taken.sec * 10**9 + taken.nanosec
        return stamp

    def repeat(self) -> None:
        """Publish the last of it once more."""
        for publisher, message in self._last:
            publisher.publish(message)


def _stamp(elapsed: float) -> Time:
    nanoseconds = round(elapsed * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def _array(numbers: np.ndarray) -> Float64MultiArray:
    return Float64MultiArray(data=array('d', numbers.tolist()))


def _image(pixels: np.ndarray, stamp: Time, camera: str) -> Image:
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width,
                    data=array('B', np.ascontiguousarray(pixels).tobytes()))
    message.header.stamp = stamp
    message.header.frame_id = camera
    return message
