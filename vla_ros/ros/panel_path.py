# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The path of the tip over the operator page's image, for a calibrated camera."""

from collections.abc import Mapping
import math

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String

from vla_ros.camera.projection import Calibration
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.tip_path import TipPath
from vla_ros.errors import VlaError
from vla_ros.ros.qos import LATCHED
from vla_ros.ros.qos import NEWEST


class PathOverlay:
    """Projects actions into the main camera's image, or gives the reason why it cannot."""

    def __init__(self, node: Node, config: NodeConfig, camera_pose: tuple[float, ...]) -> None:
        """
        Subscribe to what is needed.

        :param camera_pose: see :class:`vla_ros.control.tip_path.TipPath`; NaN alone: none.
        :raises VlaError: a parameter cannot be used.
        """
        self._config = config
        self._pose = tuple(number for number in camera_pose if not math.isnan(number))
        self._calibration: Calibration | None = None
        self._path: TipPath | None = None
        #: Why there is no path; empty if there is one.
        self.problem = ''
        if not self._pose:
            self.problem = 'camera.pose is not set'
        elif not config.robot_file:
            self.problem = 'robot.file is not set'
        elif config.robot_urdf == 'topic':
            self.problem = 'nothing was heard on robot_description'
            node.create_subscription(String, 'robot_description', self._on_description, LATCHED)
        else:
            # What is wrong with a parameter is to be seen at the start.
            self._path = TipPath(config, config.robot_urdf, self._pose)
        node.create_subscription(CameraInfo, 'camera/camera_info', self._on_camera_info, NEWEST)

    def project(self, actions: np.ndarray, unnorm_key: str,
                joints: Mapping[str, float]) -> list[list[float]]:
        """
        Return the path that actions ask for.

        :param actions: float64 (T, D), in the dataset's units.
        :param joints: measured positions by name, rad and m.
        :returns: points right and down, 0 to 1 within the image.
        """
        if self._path is None:
            return []
        if self._calibration is None:
            self.problem = self.problem or 'nothing was heard on camera/camera_info'
            return []
        try:
            points = self._path.project(actions, unnorm_key, joints, self._calibration)
        except VlaError as error:
            self.problem = str(error)
            return []
        self.problem = ''
        visible: list[list[float]] = points[np.isfinite(points).all(axis=1)].round(4).tolist()
        return visible

    def _on_camera_info(self, info: CameraInfo) -> None:
        try:
            self._calibration = Calibration.read(
                (info.width, info.height), info.distortion_model, info.k, info.d)
        except VlaError as error:
            self._calibration, self.problem = None, str(error)

    def _on_description(self, message: String) -> None:
        try:
            self._path, self.problem = TipPath(self._config, message.data, self._pose), ''
        except VlaError as error:
            self._path, self.problem = None, str(error)
