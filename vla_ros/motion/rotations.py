# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Rotations as the datasets write them, turned into matrices."""

import math

import numpy as np


def euler_xyz(angles: np.ndarray) -> np.ndarray:
    """
    Return the rotation by roll about x, then pitch about y, then yaw about z, all fixed axes.

    :param angles: float64 (3,), rad.
    :returns: float64 (3, 3), Rz(yaw) Ry(pitch) Rx(roll).
    """
    (sr, sp, sy), (cr, cp, cy) = np.sin(angles), np.cos(angles)
    return np.array([[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                     [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                     [-sp, cp * sr, cp * cr]])


def axis_angle(vector: np.ndarray) -> np.ndarray:
    """
    Return the rotation about an axis, by Rodrigues' formula.

    :param vector: float64 (3,), along the axis, as long as the angle in rad.
    :returns: float64 (3, 3).
    """
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < 1e-8:  # the first terms of the series: there is no axis to divide by
        return np.eye(3) + skew + 0.5 * skew @ skew
    return (np.eye(3) + math.sin(angle) / angle * skew
            + (1.0 - math.cos(angle)) / angle**2 * skew @ skew)


def quaternion(numbers: np.ndarray) -> np.ndarray:
    """
    Return the rotation of a unit quaternion.

    :param numbers: float64 (4,), x y z w.
    :returns: float64 (3, 3).
    """
    x, y, z, w = numbers
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])


def vector(rotation: np.ndarray) -> np.ndarray:
    """
    Return the axis of a rotation, as long as its angle: the inverse of :func:`axis_angle`.

    :param rotation: float64 (3, 3), by clearly less than half a turn.
    :returns: float64 (3,), rad.
    """
    sine = 0.5 * np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
                           rotation[1, 0] - rotation[0, 1]])
    length = float(np.linalg.norm(sine))
    if length < 1e-9:
        return sine
    return sine * (math.atan2(length, 0.5 * (float(np.trace(rotation)) - 1.0)) / length)


BY_NAME = {'euler_xyz': euler_xyz, 'axis_angle': axis_angle}
