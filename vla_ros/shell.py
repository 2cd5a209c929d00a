# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What passes between the inference and ROS: frames in, answers out, and what else it needs."""

from dataclasses import dataclass
from typing import Any
from typing import Optional
from typing import Protocol

import numpy as np

from vla_ros.gate import Order
from vla_ros.joint_command import JointCommand
from vla_ros.motion.arm import ArmCommand
from vla_ros.policy import ActionChunk
from vla_ros.status import Status


@dataclass(frozen=True)
class Frame:
    """
    An image as it came in.

    :param image: the message, untouched until the worker reads it.
    :param received: nanoseconds of ROS time.
    :param arrived: monotonic seconds.
    :param staged: for :attr:`vla_ros.policy.Observation.staged`, if the frame was sent ahead.
    """

    image: Any
    received: int
    arrived: float
    staged: Any = None


@dataclass(frozen=True)
class Answer:
    """
    An answer of the policy, and what it was computed from.

    :param command: where there is no arm that plays the actions.
    :param is_shadow: the arm is not to be moved by it.
    :param started: when the inference began, in nanoseconds of ROS time.
    :param ended: when it ended, in nanoseconds of ROS time.
    """

    frame: Frame
    order: Order
    unnorm_key: str
    chunk: ActionChunk
    command: Optional[JointCommand]
    is_shadow: bool
    started: int
    ended: int


class Shell(Protocol):
    """What the inference needs of ROS; every method may be called from any thread."""

    def now(self) -> int:
        """Give the ROS time in nanoseconds."""

    def read_image(self, image: Any) -> np.ndarray:
        """Give uint8 (H, W, 3) RGB, or raise :class:`vla_ros.errors.ImageError`."""

    def view_image(self, image: Any) -> Optional[np.ndarray]:
        """Give the same if it takes no work, or None; raise nothing."""

    def read_button(self) -> Optional[bool]:
        """Take what the emergency stop has said since: pressed or not; None if nothing."""

    def motion_time(self) -> float:
        """Give seconds of the clock by which the arm moves: steady, or simulated."""

    def is_simulated(self) -> bool:
        """Whether the ROS time is simulated."""

    def stamp_of(self, image: Any) -> int:
        """Give the stamp of an image in nanoseconds, 0 if it has none."""

    def robot_description(self) -> str:
        """Wait for the URDF's text on its topic, or raise a VlaError."""

    def publish_answer(self, answer: Answer) -> float:
        """Publish the command, if there is one, at once; give the age of its image in seconds."""

    def publish_hold(self, command: JointCommand, is_shadow: bool) -> None:
        """Publish a command that answers no image."""

    def publish_motion(self, command: ArmCommand, image: Any, is_shadow: bool) -> None:
        """Publish what the arm is to do now; with the image that it answers, None for a hold."""

    def publish_status(self, status: Status) -> None:
        """Publish the status."""
