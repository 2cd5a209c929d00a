# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Arms for the tests of motion: the project's own, and two made from published parameters."""

from math import cos
from math import pi
from math import sin

import numpy as np
from vla_ros.robot.description import load_robot
from vla_ros.robot.description import Robot
from vla_ros.robot.limits import Limits

# Denavit-Hartenberg parameters (a, d, alpha) as the makers publish them. UR: the classic
# convention, https://www.universal-robots.com/articles/ur/application-installation/
# dh-parameters-for-calculations-of-kinematics-and-dynamics; Franka: Craig's convention,
# https://frankaemika.github.io/docs/control_parameters.html.
_UR5E = [(0.0, 0.1625, pi / 2), (-0.425, 0.0, 0.0), (-0.3922, 0.0, 0.0),
         (0.0, 0.1333, pi / 2), (0.0, 0.0997, -pi / 2), (0.0, 0.0996, 0.0)]
_FRANKA = [(0.0, 0.333, 0.0), (0.0, 0.0, -pi / 2), (0.0, 0.316, pi / 2), (0.0825, 0.0, pi / 2),
           (-0.0825, 0.384, -pi / 2), (0.0, 0.0, pi / 2), (0.088, 0.107, pi / 2)]
_FRANKA_RANGE = ([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973],
                 [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])


def six_axis_arm() -> Robot:
    """Return the arm that comes with the project."""
    return load_robot('six_axis_arm')


def ur5e() -> Robot:
    """Return an arm with the kinematics of a UR5e."""
    # After joint i: along z by d, along x by a, about x by alpha; so before joint i + 1.
    origins = [(0.0, 0.0, 0.0, 0.0)] + [(a, 0.0, d, alpha) for a, d, alpha in _UR5E]
    limits = [2 * pi, 2 * pi, pi, 2 * pi, 2 * pi, 2 * pi]
    return _robot(origins, [-limit for limit in limits], limits, [pi] * 6,
                  [0.0, -pi / 2, pi / 2, -pi / 2, -pi / 2, 0.0])


def franka() -> Robot:
    """Return an arm with the kinematics of a Franka, seven joints."""
    # Before joint i: along x by a, about x by alpha, along the new z by d.
    origins = [(a, -d * sin(alpha), d * cos(alpha), alpha) for a, d, alpha in _FRANKA]
    return _robot([*origins, (0.0, 0.0, 0.0, 0.0)], *_FRANKA_RANGE, [2.175] * 4 + [2.61] * 3,
                  [0.0, -pi / 4, 0.0, -3 * pi / 4, 0.0, pi / 2, pi / 4])


def _robot(origins, lower, upper, velocity, posture) -> Robot:
    count = len(lower)
    names = tuple(f'joint_{index + 1}' for index in range(count))
    links = ''.join(f'<link name="link_{index}"/>' for index in range(count + 2))
    joints = ''.join(_joint(index, *origin, 'revolute' if index < count else 'fixed')
                     for index, origin in enumerate(origins))
    limits = Limits(names, np.array(lower), np.array(upper), np.array(velocity),
                    np.full(count, 10.0), np.full(count, 200.0))
    return Robot(f'<robot name="arm">{links}{joints}</robot>', 'link_0', f'link_{count + 1}',
                 names, np.array(posture), (), limits)


def _joint(index, x, y, z, roll, kind) -> str:
    return (f'<joint name="joint_{index + 1}" type="{kind}"><parent link="link_{index}"/>'
            f'<child link="link_{index + 1}"/><origin xyz="{x} {y} {z}" rpy="{roll} 0 0"/>'
            '<axis xyz="0 0 1"/><limit lower="-7" upper="7" velocity="4" effort="1"/></joint>')
