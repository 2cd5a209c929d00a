# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The core's interface to ROS: frames in, commands and results out, time, emergency stop."""

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

import numpy as np

from vla_ros.control.command_gate import CommandContext
from vla_ros.control.joint_command import JointCommand
from vla_ros.control.status import Status
from vla_ros.motion.arm import ArmCommand
from vla_ros.policy.base import ActionChunk
from vla_ros.safety.deadman import DeadmanSample
from vla_ros.safety.emergency_stop import EstopSample
from vla_ros.safety.emergency_stop import EstopTopicState


@dataclass(frozen=True)
class Frame:
    """
    An image as it came in.

    :param image: the message, untouched until the worker reads it.
    :param received: nanoseconds of ROS time.
    :param arrived: monotonic seconds.
    :param prefetched: for :attr:`vla_ros.policy.base.Observation.prefetched`, None if it was not.
    """

    image: Any
    received: int
    arrived: float
    prefetched: Any = None


@dataclass(frozen=True)
class InferenceResult:
    """
    A result of the policy, and what it was computed from.

    :param rgb: uint8 (H, W, 3), the frame's pixels.
    :param started: when the inference began, in nanoseconds of ROS time.
    :param ended: when it ended, in nanoseconds of ROS time.
    :param inputs: stamps of what was observed, ns, by the names of the contract.
    """

    frame: Frame
    context: CommandContext
    unnorm_key: str
    chunk: ActionChunk
    rgb: np.ndarray
    started: int
    ended: int
    inputs: Mapping[str, int] = field(default_factory=dict)


class RosInterface(Protocol):
    """What the inference needs of ROS; every method may be called from any thread."""

    def now(self) -> int:
        """Return the ROS time in nanoseconds."""

    def read_image(self, image: Any) -> np.ndarray:
        """Return uint8 (H, W, 3) RGB, or raise :class:`vla_ros.errors.ImageError`."""

    def view_image(self, image: Any) -> np.ndarray | None:
        """Return the same if it takes no work, or None; raise nothing."""

    def take_estop(self) -> Iterable[EstopSample]:
        """Return the new messages of the emergency stop."""

    def take_deadman(self) -> Iterable[DeadmanSample]:
        """Return the new messages of the deadman; only called where one is enabled."""

    def find_estop_publishers(self) -> EstopTopicState:
        """Return the emergency stop's publishers of this moment."""

    def motion_time(self) -> float:
        """Return seconds of the clock by which the arm moves: steady, or simulated."""

    def is_simulated(self) -> bool:
        """Whether the ROS time is simulated."""

    def stamp_of(self, image: Any) -> int:
        """Return the stamp of an image in nanoseconds, 0 if it has none."""

    def robot_description(self) -> str:
        """Wait for the URDF's text on its topic, or raise a VlaError."""

    def publish_command(self, command: JointCommand, image: Any, is_shadow: bool) -> None:
        """
        Publish a command for joints.

        :param image: the one that it was inferred from; None for a hold.
        """

    def publish_result(self, result: InferenceResult, published: int) -> float:
        """
        Publish the account of a result.

        :param published: when its command went out, in nanoseconds of ROS time.
        :returns: seconds from the image's stamp to then; NaN if it has none.
        """

    def publish_motion(self, command: ArmCommand, image: Any, stamp: int) -> None:
        """
        Publish a command for the arm.

        :param image: the one that it was inferred from; None for a hold.
        :param stamp: nanoseconds of ROS time that the command was planned for.
        """

    def publish_status(self, status: Status) -> None:
        """Publish the status."""
