# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The arm: its URDF, the same arm as a MuJoCo body, and the way from a tool position to joints."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
import xml.etree.ElementTree as ElementTree

import numpy as np

from vla_ros.errors import VlaError
from vla_ros.util.share import find_share

ARM_JOINTS = tuple(f'joint_{number}' for number in range(1, 7))
GRIPPER_JOINT = 'gripper'
#: Order of joint commands, and of the dimensions of an action.
JOINTS = (*ARM_JOINTS, GRIPPER_JOINT)
TOOL_LINK = 'tool'

_SHELL, _DARK, _FINGER = '0.86 0.87 0.89 1', '0.17 0.18 0.21 1', '0.85 0.15 0.80 1'
_COLORS = {'base_link': _DARK, 'wrist': _DARK, 'hand': _DARK,
           'left_finger': _FINGER, 'right_finger': _FINGER}
# Only what can meet a block collides; the arm itself passes through things.
_COLLIDING = ('hand', 'left_finger', 'right_finger')


class UnreachableError(VlaError):
    """A tool position that the arm cannot take with its hand pointing down."""


@dataclass(frozen=True)
class Joint:
    """
    One joint of the URDF.

    :param rotation: float64 (3, 3), from the child's frame at position zero to the parent's.
    :param translation: float64 (3,), m, in the parent's frame.
    :param axis: float64 (3,), in the child's frame.
    :param mimic: the joint whose position it repeats, empty for none.
    """

    name: str
    kind: str
    parent: str
    child: str
    rotation: np.ndarray
    translation: np.ndarray
    axis: np.ndarray
    lower: float
    upper: float
    velocity: float
    effort: float
    mimic: str

    def transform(self, position: float) -> np.ndarray:
        """Pose of the child in the parent's frame, float64 (4, 4); position in rad or m."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self.rotation, self.translation
        if self.kind == 'revolute':
            pose[:3, :3] = self.rotation @ _axis_rotation(self.axis, position)
        elif self.kind == 'prismatic':
            pose[:3, 3] += self.rotation @ self.axis * position
        return pose

    def quaternion(self, position: float) -> np.ndarray:
        """Quaternion (w, x, y, z) of the rotation of :meth:`transform`, float64 (4,)."""
        origin = _quaternion(self.rotation)
        if self.kind != 'revolute':
            return origin
        w, v = origin[0], origin[1:]
        turn, axis = math.cos(position / 2), math.sin(position / 2) * self.axis
        return np.array([w * turn - v @ axis, *(w * axis + turn * v + np.cross(v, axis))])


class Robot:
    """The parts of the URDF that kinematics and simulation need."""

    def __init__(self, urdf: str) -> None:
        """Parse the text of a URDF."""
        self.urdf = urdf
        self._tree = ElementTree.fromstring(urdf)
        self.joints = {joint.name: joint for joint in map(_read_joint, self._tree.iter('joint'))}

    @classmethod
    def load(cls) -> 'Robot':
        """Read the arm that comes with the package."""
        return cls((find_share() / 'config/robots/six_axis_arm.urdf').read_text(encoding='utf-8'))

    def limits(self) -> np.ndarray:
        """Position limits of :data:`JOINTS`, float64 (7, 2), rad and m."""
        return np.array([(self.joints[name].lower, self.joints[name].upper) for name in JOINTS])

    def forward(self, positions: Mapping[str, float], link: str = TOOL_LINK) -> np.ndarray:
        """Pose of a link in the base frame, float64 (4, 4), m; joints not given are at 0."""
        pose = np.eye(4)
        while (joint := self._joint_above(link)) is not None:
            position = positions.get(joint.mimic or joint.name, 0.0)
            pose = joint.transform(position) @ pose
            link = joint.parent
        return pose

    def _joint_above(self, link: str) -> Joint | None:
        return next((joint for joint in self.joints.values() if joint.child == link), None)

    def mjcf_body(self) -> str:
        """Write the arm as the MJCF element ``body``, from the numbers of the URDF."""
        return ElementTree.tostring(self._body('base_link', None), encoding='unicode')

    def _body(self, name: str, joint: Joint | None) -> ElementTree.Element:
        body = ElementTree.Element('body', name=name, gravcomp='1')
        if joint is not None:
            body.set('pos', _text(joint.translation))
            body.set('quat', _text(_quaternion(joint.rotation)))
            if joint.kind != 'fixed':
                body.append(_mjcf_joint(joint))
        link = next(item for item in self._tree.iter('link') if item.get('name') == name)
        if (inertial := link.find('inertial')) is not None:
            body.append(_mjcf_inertial(inertial))
        for visual in link.iter('visual'):
            body.append(_mjcf_geom(visual, name, name in _COLLIDING))
        if name == TOOL_LINK:
            ElementTree.SubElement(body, 'site', name=TOOL_LINK, size='0.004', rgba='0 0 0 0')
        for child in self.joints.values():
            if child.parent == name:
                body.append(self._body(child.child, child))
        return body


class TopDownArm:
    """
    Joints that hold the tool at a point, the hand pointing straight down.

    Base, shoulder and elbow make a planar arm of two segments that the first joint turns; the
    wrist makes up for their inclination, and the other two joints stay at zero.
    """

    def __init__(self, robot: Robot) -> None:
        """Read the lengths of the robot."""
        at_zero = [robot.forward({}, robot.joints[name].child) for name in ARM_JOINTS]
        shoulder, elbow, wrist = (at_zero[index][:3, 3] for index in (1, 2, 4))
        tool = robot.forward({})[:3, 3]
        self._limits = robot.limits()[:6]
        self._shoulder_height = shoulder[2]
        self._upper = np.linalg.norm(elbow - shoulder)
        self._fore = np.linalg.norm(wrist - elbow)
        self._hand = np.linalg.norm(tool - wrist)

    def solve(self, point: np.ndarray) -> np.ndarray:
        """
        Return the arm's joint positions.

        :param point: float64 (3,), of the tool in the frame of the base, m.
        :returns: float64 (6,), rad.
        :raises UnreachableError: the arm is too short, or a joint would pass its limit.
        """
        radius = math.hypot(point[0], point[1])
        height = point[2] + self._hand - self._shoulder_height
        upper, fore = self._upper, self._fore
        cosine = (radius**2 + height**2 - upper**2 - fore**2) / (2 * upper * fore)
        if not -1.0 <= cosine <= 1.0:
            raise UnreachableError(f'tool position {np.round(point, 3).tolist()}: out of reach')
        bend = math.acos(cosine)
        shoulder = math.atan2(radius, height) - math.atan2(
            fore * math.sin(bend), upper + fore * math.cos(bend))
        # At zero the forearm points forward, a quarter turn from the upper arm.
        elbow = bend - math.pi / 2
        wrist = math.pi / 2 - shoulder - elbow
        joints = np.array([math.atan2(point[1], point[0]), shoulder, elbow, 0.0, wrist, 0.0])
        if (joints < self._limits[:, 0]).any() or (joints > self._limits[:, 1]).any():
            raise UnreachableError(
                f'tool position {np.round(point, 3).tolist()}: beyond a joint limit')
        return joints


def _read_joint(element: ElementTree.Element) -> Joint:
    def vector(tag: str, attribute: str, default: str) -> np.ndarray:
        child = element.find(tag)
        return _vector(default if child is None else child.get(attribute, default))

    def value(tag: str, attribute: str, default: str) -> str:
        child = element.find(tag)
        return default if child is None else child.get(attribute, default)

    return Joint(
        name=element.get('name', ''), kind=element.get('type', ''),
        parent=value('parent', 'link', ''), child=value('child', 'link', ''),
        rotation=_rpy_rotation(vector('origin', 'rpy', '0 0 0')),
        translation=vector('origin', 'xyz', '0 0 0'), axis=vector('axis', 'xyz', '1 0 0'),
        lower=float(value('limit', 'lower', '0')), upper=float(value('limit', 'upper', '0')),
        velocity=float(value('limit', 'velocity', '0')),
        effort=float(value('limit', 'effort', '0')), mimic=value('mimic', 'joint', ''))


def _mjcf_joint(joint: Joint) -> ElementTree.Element:
    kind = {'revolute': 'hinge', 'prismatic': 'slide'}[joint.kind]
    # The armature stands for the motors' rotors behind their gears.
    armature = '0.1' if kind == 'hinge' else '0.02'
    return ElementTree.Element(
        'joint', name=joint.name, type=kind, axis=_text(joint.axis), armature=armature,
        range=f'{joint.lower} {joint.upper}', limited='true')


def _mjcf_inertial(element: ElementTree.Element) -> ElementTree.Element:
    def attribute(tag: str, name: str) -> str:
        child = element.find(tag)
        return '0 0 0' if child is None else child.get(name, '0 0 0')

    inertia = ' '.join(attribute('inertia', name)
                       for name in ('ixx', 'iyy', 'izz', 'ixy', 'ixz', 'iyz'))
    return ElementTree.Element('inertial', pos=attribute('origin', 'xyz'),
                               mass=attribute('mass', 'value'), fullinertia=inertia)


def _mjcf_geom(visual: ElementTree.Element, link: str, collides: bool) -> ElementTree.Element:
    origin = visual.find('origin')
    position = '0 0 0' if origin is None else origin.get('xyz', '0 0 0')
    angles = '0 0 0' if origin is None else origin.get('rpy', '0 0 0')
    geom = ElementTree.Element(
        'geom', pos=position, quat=_text(_quaternion(_rpy_rotation(_vector(angles)))),
        rgba=_COLORS.get(link, _SHELL), friction='1.5 0.05 0.001', condim='4')
    if (box := visual.find('geometry/box')) is not None:
        geom.set('type', 'box')
        geom.set('size', _text(_vector(box.get('size', '')) / 2))
    elif (cylinder := visual.find('geometry/cylinder')) is not None:
        geom.set('type', 'cylinder')
        geom.set('size', f'{cylinder.get("radius")} {float(cylinder.get("length", "0")) / 2}')
    if not collides:
        geom.set('contype', '0')
        geom.set('conaffinity', '0')
    return geom


def _vector(text: str) -> np.ndarray:
    return np.array([float(part) for part in text.split()])


def _text(values: np.ndarray) -> str:
    return ' '.join(f'{value:.9g}' for value in values)


def _rpy_rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation of URDF's roll, pitch, yaw: about the fixed x, then y, then z."""
    roll, pitch, yaw = (_axis_rotation(axis, angle) for axis, angle in zip(np.eye(3), angles))
    return yaw @ pitch @ roll


def _axis_rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula, for an axis of length 1."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """Quaternion (w, x, y, z) of a rotation that is not a half turn."""
    w = math.sqrt(max(0.0, 1 + np.trace(rotation))) / 2
    return np.array([w, (rotation[2, 1] - rotation[1, 2]) / (4 * w),
                     (rotation[0, 2] - rotation[2, 0]) / (4 * w),
                     (rotation[1, 0] - rotation[0, 1]) / (4 * w)])
