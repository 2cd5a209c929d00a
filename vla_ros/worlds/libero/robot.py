# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The Panda of LIBERO: joint names, and a URDF made from its MJCF."""

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np

#: Names on the graph, arm first, and in the benchmark's model.
ARM_JOINTS = tuple(f'panda_joint{number}' for number in range(1, 8))
JOINTS = (*ARM_JOINTS, 'panda_finger_joint1')
MJCF_JOINTS = tuple(f'robot0_joint{number}' for number in range(1, 8))
FINGER_JOINTS = ('gripper0_finger_joint1', 'gripper0_finger_joint2')
_NAMES = dict(zip(MJCF_JOINTS, ARM_JOINTS)) | {
    'gripper0_finger_joint1': 'panda_finger_joint1',
    'gripper0_finger_joint2': 'panda_finger_joint2'}
#: Links, in the order of the chain; the tip is the point that the benchmark's actions move.
_LINKS = {**{f'robot0_link{number}': f'panda_link{number}' for number in range(8)},
          'robot0_right_hand': 'panda_hand', 'gripper0_right_gripper': 'panda_gripper',
          'gripper0_eef': 'panda_grip_point', 'gripper0_leftfinger': 'panda_leftfinger',
          'gripper0_rightfinger': 'panda_rightfinger'}
BASE_LINK = 'panda_link0'
#: Speeds that Franka publishes, rad/s and m/s; the MJCF has none.
_SPEEDS = dict(zip(JOINTS, (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61, 0.2)))
_HINGE = 3


def write_urdf(model: Any) -> str:
    """
    Write the chain of bodies as a URDF: the same frames, axes and ranges, no shapes.

    :param model: MuJoCo's model of a task.
    """
    robot = ElementTree.Element('robot', name='panda')
    bodies = {model.body(index).name: index for index in range(model.nbody)}
    for name, link in _LINKS.items():
        ElementTree.SubElement(robot, 'link', name=link)
        if link == BASE_LINK:
            continue
        body = bodies[name]
        parent, transform = _find_parent(model, body)
        joint = _write_joint(robot, model, body, link)
        ElementTree.SubElement(joint, 'parent', link=parent)
        ElementTree.SubElement(joint, 'child', link=link)
        x, y, z = transform[:3, 3].tolist()
        roll, pitch, yaw = _euler(transform[:3, :3])
        ElementTree.SubElement(joint, 'origin', xyz=f'{x!r} {y!r} {z!r}',
                               rpy=f'{roll!r} {pitch!r} {yaw!r}')
    return ElementTree.tostring(robot, encoding='unicode')


def _find_parent(model: Any, body: int) -> tuple[str, np.ndarray]:
    """Return the next link up the chain, and the pose of the body in it, float64 (4, 4)."""
    transform = np.eye(4)
    while True:
        own = np.eye(4)
        own[:3, :3] = _matrix(model.body_quat[body])
        own[:3, 3] = model.body_pos[body]
        transform = own @ transform
        body = int(model.body_parentid[body])
        name = model.body(body).name
        if name in _LINKS:
            return _LINKS[name], transform


def _write_joint(robot: ElementTree.Element, model: Any, body: int,
                 link: str) -> ElementTree.Element:
    count = int(model.body_jntnum[body])
    if not count:
        return ElementTree.SubElement(robot, 'joint', name=f'{link}_fixed', type='fixed')
    number = int(model.body_jntadr[body])
    assert count == 1 and not np.any(model.jnt_pos[number]), 'one joint, in the origin'
    kind = 'revolute' if model.jnt_type[number] == _HINGE else 'prismatic'
    name = _NAMES[model.joint(number).name]
    joint = ElementTree.SubElement(robot, 'joint', name=name, type=kind)
    ElementTree.SubElement(joint, 'axis', xyz=' '.join(map(repr, model.jnt_axis[number].tolist())))
    lower, upper = model.jnt_range[number].tolist()
    ElementTree.SubElement(joint, 'limit', lower=repr(lower), upper=repr(upper),
                           velocity=repr(_SPEEDS.get(name, 0.2)), effort='80.0')
    if name == 'panda_finger_joint2':
        ElementTree.SubElement(joint, 'mimic', joint='panda_finger_joint1', multiplier='-1.0')
    return joint


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])


def _euler(rotation: np.ndarray) -> tuple[float, float, float]:
    """Return roll, pitch and yaw about fixed axes, as a URDF has them, rad."""
    pitch = math.asin(min(max(-float(rotation[2, 0]), -1.0), 1.0))
    if abs(rotation[2, 0]) > 1.0 - 1e-12:
        return math.atan2(-rotation[1, 2], rotation[1, 1]), pitch, 0.0
    return (math.atan2(rotation[2, 1], rotation[2, 2]), pitch,
            math.atan2(rotation[1, 0], rotation[0, 0]))
