# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Where a point in space is in an image: the pinhole model of ``sensor_msgs/CameraInfo``."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_ros.errors import ParameterError

#: Numbers of distortion by model; ROS calibrates cameras by these two.
_COEFFICIENTS = {'plumb_bob': 5, 'rational_polynomial': 8}
#: Metres in front of the lens from which on a point is drawn.
_NEAREST = 0.01


@dataclass(frozen=True)
class Calibration:
    """
    A calibrated camera.

    :param size: width and height of its images, pixels.
    :param matrix: K, float64 (3, 3), pixels.
    :param distortion: k1 k2 p1 p2 k3 k4 k5 k6, float64 (8,), zeros where the model has fewer.
    """

    size: tuple[int, int]
    matrix: np.ndarray
    distortion: np.ndarray

    @classmethod
    def read(cls, size: tuple[int, int], model: str, matrix: Sequence[float],
             distortion: Sequence[float]) -> 'Calibration':
        """
        Read the fields of a ``CameraInfo``.

        :param matrix: its ``k``, 9 numbers.
        :param distortion: its ``d``.
        :raises ParameterError: it is not calibrated, or distorts in another way.
        """
        camera = np.array(matrix, np.float64).reshape(3, 3)
        if min(size) <= 0 or not np.isfinite(camera).all() or camera[0, 0] <= 0.0:
            raise ParameterError('camera_info', f'size {size} and k[0] {camera[0, 0]:g}',
                                 'that of a calibrated camera')
        numbers = np.array(distortion, np.float64)
        if not numbers.any():
            return cls(size, camera, np.zeros(8))
        if _COEFFICIENTS.get(model) != len(numbers) or not np.isfinite(numbers).all():
            allowed = ' or '.join(f'{name} with {count} numbers'
                                  for name, count in _COEFFICIENTS.items())
            raise ParameterError('camera_info.distortion_model',
                                 f'{model} with {len(numbers)} numbers', allowed)
        return cls(size, camera, np.pad(numbers, (0, 8 - len(numbers))))

    def project(self, points: np.ndarray) -> np.ndarray:
        """
        Project points.

        :param points: float64 (N, 3), m, in the camera's optical frame: x right, y down, z ahead.
        :returns: float64 (N, 2), right and down, 0 to 1 within the image; NaN for what lies
            behind the lens.
        """
        depth = np.where(points[:, 2] > _NEAREST, points[:, 2], np.nan)
        x, y = points[:, 0] / depth, points[:, 1] / depth
        k1, k2, p1, p2, k3, k4, k5, k6 = self.distortion
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        distorted = np.stack([x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                              y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
                              np.ones_like(x)])
        pixels = (self.matrix @ distorted)[:2].T
        # A pixel's centre is at its whole number.
        return (pixels + 0.5) / np.array(self.size)
