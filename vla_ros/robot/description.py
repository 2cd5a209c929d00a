# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Which robot: its joints, its gripper and its limits, from a YAML file and a URDF."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.robot.limits import as_vector
from vla_ros.robot.limits import Limits
from vla_ros.util.share import find_share
import yaml

_FACTS = {'urdf', 'base_frame', 'tip_frame', 'joints', 'posture', 'grippers', 'workspace',
          'lower', 'upper', 'velocity', 'acceleration', 'jerk'}
_GRIPPER_FACTS = {'joint', 'open', 'closed', 'velocity', 'acceleration', 'jerk'}


class RobotError(VlaError):
    """A robot's description that is missing, incomplete or not valid."""


@dataclass(frozen=True)
class GripperJoint:
    """
    One joint that opens and closes a gripper; its unit is the joint's own, m or rad.

    :param open: position in which the gripper is open.
    :param closed: position in which it is closed.
    """

    joint: str
    open: float  # noqa: A003
    closed: float

    def position(self, opening: float) -> float:
        """Return the position for an opening from 0 (closed) to 1 (open)."""
        return self.closed + opening * (self.open - self.closed)

    def opening(self, position: float) -> float:
        """Return the opening at a position, not clipped."""
        return (position - self.closed) / (self.open - self.closed)


@dataclass(frozen=True)
class Workspace:
    """A box that the tip does not leave, in the base frame: float64 (3,) each, in m."""

    lower: np.ndarray
    upper: np.ndarray

    def __post_init__(self) -> None:
        """Reject an empty box."""
        if not (self.lower < self.upper).all():
            raise ParameterError('workspace', [self.lower.tolist(), self.upper.tolist()],
                                 'a lower corner below the upper one in x, y and z')


@dataclass(frozen=True)
class Robot:
    """
    A robot arm with its grippers.

    :param urdf: the URDF's text.
    :param base_frame: link whose axes ``frame: base`` means.
    :param tip_frame: link that an end-effector action moves.
    :param joints: names of the arm's J joints, in the order of a joint action.
    :param posture: float64 (J,), what an arm with joints to spare tends to, and where the search
        for joint positions may begin anew; rad.
    :param limits: of the J arm joints, then of the G gripper joints.
    """

    urdf: str
    base_frame: str
    tip_frame: str
    joints: tuple[str, ...]
    posture: np.ndarray
    grippers: tuple[GripperJoint, ...]
    limits: Limits
    workspace: Workspace | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all joints that a command names: arm, then grippers."""
        return self.limits.names


def load_robot(file: str | Path, urdf: str | None = None) -> Robot:
    """
    Read a robot's YAML file, see ``config/robots/``, and its URDF.

    :param file: path, or the name of one that comes with the package, such as ``six_axis_arm``.
    :param urdf: the URDF's text, where it comes from elsewhere (``robot_description``).
    :raises RobotError: a file is missing or not valid.
    """
    path = Path(file)
    if not path.suffix:
        path = shipped_robots() / f'{file}.yaml'
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise RobotError(f'robot file {path}: {error}') from None
    except yaml.YAMLError as error:
        raise RobotError(f'robot file {path}: not YAML: {error}') from None
    try:
        _check_names('robot', content, _FACTS)
        text = urdf or _read_urdf(str(content.get('urdf', '')), path.parent)
        return _read_robot(content, text)
    except (ParameterError, RobotError) as error:
        raise RobotError(f'robot file {path}: {error}') from None


def shipped_robots() -> Path:
    """Return the folder of the robot descriptions that come with the package."""
    return find_share() / 'config' / 'robots'


def _check_names(what: str, entry: object, known: set[str]) -> None:
    if not isinstance(entry, dict):
        raise RobotError(f'{what}: must be a mapping of {", ".join(sorted(known))}')
    unknown = sorted(str(name) for name in entry if name not in known)
    if unknown:
        raise RobotError(f'{what}: unknown entries {", ".join(unknown)}; '
                         f'known are {", ".join(sorted(known))}')


def _read_urdf(source: str, folder: Path) -> str:
    if not source:
        raise RobotError('no urdf is named; name a file or package://PACKAGE/PATH, or give the '
                         'text with the parameter robot.urdf or the topic robot_description')
    if source.startswith('package://'):
        package, _, rest = source.removeprefix('package://').partition('/')
        path = _package_share(package) / rest
    else:
        path = folder / source
    if path.suffix == '.xacro':
        raise RobotError(f'urdf {path}: a xacro file is expanded first: '
                         'xacro FILE > robot.urdf, or take it from robot_description')
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise RobotError(f'urdf {path}: {error}') from None


def _package_share(package: str) -> Path:
    try:
        from ament_index_python.packages import get_package_share_directory
        return Path(get_package_share_directory(package))
    except (ImportError, LookupError, OSError, ValueError):
        raise RobotError(f'urdf package://{package}: the package is not installed; install it, or '
                         'give the text with robot.urdf or the topic robot_description') from None


def _read_robot(content: Mapping[str, Any], urdf: str) -> Robot:
    joints = content.get('joints')
    if not isinstance(joints, list) or not joints \
            or not all(isinstance(name, str) for name in joints):
        raise ParameterError('joints', joints, "a list of the arm's joint names")
    entries = content.get('grippers') or []
    if not isinstance(entries, list):
        raise ParameterError('grippers', entries, 'a list')
    for entry in entries:
        _check_names('grippers', entry, _GRIPPER_FACTS)
    grippers = tuple(_read_gripper(entry) for entry in entries)
    names = (*joints, *(gripper.joint for gripper in grippers))
    limits = _read_limits(content, entries, names, _urdf_joints(urdf, names))
    lower, upper = limits.lower[:len(joints)], limits.upper[:len(joints)]
    posture = (as_vector('posture', content['posture'], len(joints)) if 'posture' in content
               else 0.5 * (lower + upper))
    if (posture < lower).any() or (posture > upper).any():
        raise ParameterError('posture', posture.tolist(),
                             f'from {lower.tolist()} to {upper.tolist()}')
    for index, gripper in enumerate(grippers, len(joints)):
        _check_gripper(gripper, float(limits.lower[index]), float(limits.upper[index]))
    return Robot(urdf, str(content.get('base_frame', '')), str(content.get('tip_frame', '')),
                 tuple(joints), posture, grippers, limits, _read_workspace(content))


def _read_gripper(entry: Mapping[str, Any]) -> GripperJoint:
    width = as_vector('grippers.open and closed', [entry.get('open'), entry.get('closed')], 2)
    if width[0] == width[1] or not isinstance(entry.get('joint'), str):
        raise ParameterError('grippers', dict(entry),
                             'a joint with two different positions, open and closed')
    return GripperJoint(entry['joint'], *width.tolist())


def _check_gripper(gripper: GripperJoint, lower: float, upper: float) -> None:
    for position in (gripper.open, gripper.closed):
        if not lower <= position <= upper:
            raise ParameterError(f'grippers.{gripper.joint}', position,
                                 f'within the limits of the joint, {lower:g} to {upper:g}')


def _read_workspace(content: Mapping[str, Any]) -> Workspace | None:
    if content.get('workspace') is None:
        return None
    _check_names('workspace', content['workspace'], {'lower', 'upper'})
    return Workspace(*(as_vector(f'workspace.{corner}', content['workspace'].get(corner), 3)
                       for corner in ('lower', 'upper')))


def _read_limits(content: Mapping[str, Any], grippers: list[Mapping[str, Any]],
                 names: tuple[str, ...], joints: Mapping[str, Mapping[str, float]]) -> Limits:
    missing = [name for name in names if name not in joints]
    if missing:
        raise RobotError(f'the URDF has no moving joint {", ".join(missing)}; '
                         f'it has {", ".join(joints) or "none"}')
    # The URDF's limits, where they are, are the widest; the file narrows them, and gives what a
    # URDF seldom has: acceleration and jerk.
    widest = Limits(names, **{field: np.array([_widest(joints[name], field) for name in names])
                              for field in ('lower', 'upper', 'velocity', 'acceleration', 'jerk')})
    own = {}
    for field in ('lower', 'upper', 'velocity', 'acceleration', 'jerk'):
        arm = as_vector(field, content.get(field, [math.nan] * (len(names) - len(grippers))),
                        len(names) - len(grippers), nan=True).tolist()
        own[field] = arm + [float(entry.get(field, math.nan)) for entry in grippers]
    limits = widest.tightened(**own)
    for field in ('lower', 'upper', 'velocity', 'acceleration', 'jerk'):
        open_ended = [name for name, value in zip(names, getattr(limits, field))
                      if abs(value) >= _UNLIMITED]
        if open_ended:
            raise RobotError(f'no {field} limit of {", ".join(open_ended)}, neither in the URDF '
                             f'nor here; give {field}, a list with one number for each joint')
    return limits


#: Stands for "no limit" until the file has given one; a robot with it is refused.
_UNLIMITED = 1e9


def _widest(joint: Mapping[str, float], field: str) -> float:
    return joint.get(field, -_UNLIMITED if field == 'lower' else _UNLIMITED)


def _urdf_joints(urdf: str, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """
    Return the limits of every joint that moves; fields that the URDF does not give are absent.

    :param names: whose limits are read; those of wheels and other arms never matter.
    """
    try:
        root = ElementTree.fromstring(urdf)
    except ElementTree.ParseError as error:
        raise RobotError(f'the URDF is no XML: {error}') from None
    joints: dict[str, dict[str, float]] = {}
    # Not iter: a <transmission> names joints, too, without saying what they are.
    for joint in root.findall('joint'):
        kind = joint.get('type')
        if kind not in ('revolute', 'prismatic', 'continuous'):
            continue
        if joint.get('name', '') not in names:
            joints[joint.get('name', '')] = {}
            continue
        limit = joint.find('limit')
        found = {} if limit is None else dict(limit.attrib)
        if kind == 'continuous':
            found.pop('lower', None)
            found.pop('upper', None)
        try:
            joints[joint.get('name', '')] = {
                field: float(found[field]) for field in ('lower', 'upper', 'velocity',
                                                         'acceleration', 'jerk')
                if field in found}
        except ValueError as error:
            raise RobotError(f'the URDF limits {joint.get("name")} by {found}: {error}') from None
    return joints
