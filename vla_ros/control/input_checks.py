# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Whether image, joint states and clock can be trusted to move an arm by."""

from collections.abc import Sequence
import math
import time

import numpy as np

from vla_ros.control.parameters import NodeConfig
from vla_ros.control.ros_interface import Frame
from vla_ros.control.ros_interface import RosInterface
from vla_ros.motion.arm import Arm
from vla_ros.motion.measurements import Measurements
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.safety.frames import ClockCheck
from vla_ros.safety.frames import FrozenImage

#: Seconds after which what gets too old is sure to be too old, by a clock that may be slewed.
_TOLERANCE = 0.001


class InputChecks:
    """Keeps the newest frame and the measured joints, and judges their age."""

    def __init__(self, config: NodeConfig, ros: RosInterface) -> None:
        """Start with nothing received, and without an arm."""
        self._config = config
        self._ros = ros
        self._frozen = FrozenImage(config.frozen_stamps, config.frozen_pixels)
        self._clock = ClockCheck()
        self._direct = Measurements(config.joint_names)
        self._arm: Arm | None = None
        self._newest: Frame | None = None

    @property
    def is_raw(self) -> bool:
        """Whether commands are raw numbers, which move nothing by themselves."""
        return self._config.action_space == 'raw'

    @property
    def measurements(self) -> Measurements:
        """The measured joints: those of the arm, where there is one."""
        return self._direct if self._arm is None else self._arm.measurements

    def use(self, arm: Arm | None) -> None:
        """Judge the joints of an arm, or without one those of the parameters."""
        self._arm = arm

    def frame(self, frame: Frame) -> None:
        """Record the newest frame: its age decides whether the arm may move."""
        self._newest = frame

    def check_image(self, frame: Frame, rgb: np.ndarray) -> None:
        """
        Check that the camera sends new images; in the worker's thread.

        :param rgb: uint8 (H, W, 3), the frame's pixels.
        :raises Hold: the image is frozen.
        """
        joints = None if self._arm is None else self._arm.measured
        problem = self._frozen.check(self._ros.stamp_of(frame.image), rgb, frame.arrived, joints)
        if problem:
            raise Hold(Reason.FROZEN_IMAGE, problem)

    def check_age(self, frame: Frame) -> None:
        """
        Check that an image, after its inference, and the joint states are young enough.

        :raises Hold: they are not.
        """
        age = self.age(frame)
        if 0.0 < self._config.max_age < age and not self.is_raw:
            raise Hold(Reason.STALE_IMAGE, f'the image was {age:.3f} s old when its inference '
                                           f'ended, max_age is {self._config.max_age:g} s')
        hold = self.find_stale_joints()
        if hold is not None and not self.measurements.missing(self._needed_joints()):
            raise hold  # else a better sentence follows, which says who is missing

    def find_jump(self) -> str:
        """Return what is wrong with the clock since the last call; empty if nothing is."""
        return self._clock.check(self._ros.now() / 1e9, time.monotonic(),
                                 self._ros.is_simulated())

    def find_stale_input(self) -> Hold | None:
        """Return why the arm may not move on: the newest image or joint states are too old."""
        age = self.age(self._newest) if self._newest is not None else 0.0
        if 0.0 < self._config.max_age < age:
            return Hold(Reason.STALE_IMAGE, f'the newest image is {age:.3f} s old, max_age is '
                                            f'{self._config.max_age:g} s')
        return self.find_stale_joints()

    def due(self) -> float:
        """Return the monotonic seconds at which an input gets too old; infinity for never."""
        frame, most = self._newest, self._config.max_age
        left = most - (0.0 if frame is None else self.age(frame)) if most > 0.0 else math.inf
        return min(time.monotonic() + max(0.0, left) + _TOLERANCE, self.joints_due())

    def joints_due(self) -> float:
        """Return the monotonic seconds at which joint states get too old; infinity for never."""
        now, most = time.monotonic(), self._config.joint_timeout
        age = self.measurements.age(self._needed_joints(), now)
        return now + max(0.0, most - age) + _TOLERANCE if most > 0.0 else math.inf

    def describe_old_stamp(self) -> str:
        """Return a warning if raw numbers come from an image whose stamp is too old, else ''."""
        frame = self._newest
        taken = 0 if frame is None or not self.is_raw else self._ros.stamp_of(frame.image)
        if frame is None or not taken or not 0.0 < self._config.max_age:
            return ''
        age = (frame.received - taken) / 1e9
        if age <= self._config.max_age:
            return ''
        return (f'the stamp of the newest image was {age:.3f} s old when it came, max_age is '
                f'{self._config.max_age:g} s: raw numbers are sent all the same; set the '
                "camera's clock, or make the reader check header.stamp")

    def age(self, frame: Frame) -> float:
        """Return the seconds since an image was taken, or since it arrived if it does not tell."""
        if self.is_raw:
            # Raw numbers move nothing by themselves, and are tried with a recording or a camera
            # with a clock of its own. What counts is whether images still come; the status
            # reports an old stamp.
            return time.monotonic() - frame.arrived
        taken = self._ros.stamp_of(frame.image)
        since_taken = (self._ros.now() - taken) / 1e9 if taken else 0.0
        if self._ros.is_simulated():
            return since_taken
        # Without a stamp, or with one of the future, what counts is when it arrived.
        return max(since_taken, time.monotonic() - frame.arrived)

    def find_stale_joints(self) -> Hold | None:
        """Return why the arm may not move: its joint states are too old."""
        age = self.measurements.age(self._needed_joints(), time.monotonic())
        if 0.0 < self._config.joint_timeout < age:
            return Hold(Reason.STALE_JOINTS, f'the newest joint states are {age:.3f} s old, '
                        f'joint_states.timeout is {self._config.joint_timeout:g} s')
        return None

    def _needed_joints(self) -> Sequence[str]:
        if self._arm is not None:
            return self._arm.joints
        return self._config.joint_names if self._config.action_space == 'joint_delta' else ()
