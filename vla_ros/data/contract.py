# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The observation contract: what a policy is given and what it commands, live and in a dataset.

One object for both: the node makes its observations by it, and the converter the frames of a
dataset. What differs between training and operation is then a difference of the messages alone.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
import math
from pathlib import Path
import re
from typing import Any

from vla_ros.data.transforms import check_names
from vla_ros.data.transforms import IMAGE_TRANSFORMS
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.util.files import FileError
from vla_ros.util.files import read_text
from vla_ros.util.share import find_share
import yaml

#: hold: the newest sample whose stamp is not after the clock's; nearest: of those that had arrived
#: with the clock's image, the one whose stamp is nearest.
OBSERVED = ('hold', 'nearest')
#: next: the first sample whose stamp is not before the clock's, such as the next command.
COMMANDED = ('next', 'hold', 'nearest')

_NAME = re.compile(r'[a-z][a-z0-9_]*')
_TOPIC = re.compile(r'~?/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*')
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
JOINTS, ARRAY = 'sensor_msgs/msg/JointState', 'std_msgs/msg/Float64MultiArray'


class ContractError(VlaError):
    """An observation contract that is missing, incomplete or not valid."""


@dataclass(frozen=True)
class CameraInput:
    """
    One camera.

    :param name: of the feature ``observation.images.NAME`` of a dataset.
    :param transforms: names out of :data:`vla_ros.data.transforms.IMAGE_TRANSFORMS`, in order,
        applied by the policy; a dataset holds the images without them.
    :param align: one of :data:`OBSERVED`; without meaning for the clock.
    :param max_age: largest distance of its stamp from the clock's, s.
    """

    name: str
    topic: str
    transforms: tuple[str, ...] = ()
    align: str = 'hold'
    max_age: float = 0.5

    def __post_init__(self) -> None:
        """Reject what cannot be followed."""
        if not _NAME.fullmatch(str(self.name)):
            raise ParameterError('camera name', self.name, 'a word of a-z, 0-9 and _')
        _check_topic(f'topic of camera {self.name}', self.topic)
        check_names(f'transforms of camera {self.name}', self.transforms, IMAGE_TRANSFORMS)
        _check_alignment(f'camera {self.name}', self.align, OBSERVED, self.max_age)

    @property
    def type(self) -> str:  # noqa: A003
        """Type of its messages: that of image_transport's name."""
        return COMPRESSED if self.topic.endswith('/compressed') else IMAGE


@dataclass(frozen=True)
class VectorInput:
    """
    A vector of numbers: joints of sensor_msgs/JointState, or std_msgs/Float64MultiArray.

    :param names: joints in the order of the vector; of an array, what its numbers are called.
    :param type: of the messages.
    :param align: how it is aligned to the clock.
    :param max_age: largest distance of its stamp from the clock's, s.
    """

    topic: str
    names: tuple[str, ...]
    type: str = JOINTS  # noqa: A003
    align: str = 'hold'
    max_age: float = 0.5

    def __post_init__(self) -> None:
        """Reject what cannot be followed."""
        _check_topic('topic', self.topic)
        if self.type not in (JOINTS, ARRAY):
            raise ParameterError(f'type of {self.topic}', self.type, f'{JOINTS} or {ARRAY}')
        if not self.names or len(set(self.names)) != len(self.names) or not all(
                isinstance(name, str) and name for name in self.names):
            raise ParameterError(f'names of {self.topic}', list(self.names),
                                 'different names, at least one')
        _check_alignment(self.topic, self.align, COMMANDED, self.max_age)


@dataclass(frozen=True)
class ObservationContract:
    """
    What makes an observation, and what the action is.

    :param cameras: in the order in which the policy gets them.
    :param state: proprioception, None if the policy takes none.
    :param action: the command that is learnt; None where only observations are made.
    :param clock: name of the camera whose images are inferred from and make a dataset's frames.
    :param fps: frames a second of a dataset; images of the clock between them are left out.
    :param max_skew: largest difference of the stamps of two images of an observation, s.
    """

    cameras: tuple[CameraInput, ...]
    state: VectorInput | None = None
    action: VectorInput | None = None
    clock: str = ''
    fps: float = 10.0
    max_skew: float = 0.05
    robot_type: str = ''

    def __post_init__(self) -> None:
        """Reject contradictions."""
        if not self.cameras:
            raise ParameterError('cameras', [], 'a list of at least one camera')
        names = [camera.name for camera in self.cameras]
        topics = [camera.topic for camera in self.cameras]
        if len(set(names)) < len(names) or len(set(topics)) < len(topics):
            raise ParameterError('cameras', names, 'different in name and topic')
        if self.clock not in ('', *names):
            raise ParameterError('clock', self.clock, f'one of {", ".join(names)}')
        if self.state is not None and self.state.align not in OBSERVED:
            raise ParameterError('align of state', self.state.align,
                                 f'one of {", ".join(OBSERVED)}: it cannot be seen ahead of time')
        for name, least, most in (('fps', 0.1, 1000.0), ('max_skew', 0.0, 60.0)):
            if not _is_number(getattr(self, name), least, most):
                raise ParameterError(name, getattr(self, name),
                                     f'a number from {least:g} to {most:g}')

    @property
    def clock_camera(self) -> CameraInput:
        """The camera whose images make the frames."""
        wanted = self.clock or self.cameras[0].name
        return next(camera for camera in self.cameras if camera.name == wanted)

    @property
    def inputs(self) -> tuple[CameraInput | VectorInput, ...]:
        """All streams, cameras first."""
        return (*self.cameras, *(one for one in (self.state, self.action) if one is not None))

    def with_topics(self, resolve: Callable[[str], str]) -> 'ObservationContract':
        """Return the same contract with other names of its topics."""
        def change(vector: VectorInput | None) -> VectorInput | None:
            return vector and replace(vector, topic=resolve(vector.topic))
        return replace(self, state=change(self.state), action=change(self.action), cameras=tuple(
            replace(camera, topic=resolve(camera.topic)) for camera in self.cameras))

    def to_yaml(self) -> str:
        """Write it as :func:`read_contract` reads it."""
        content = {key: value for key, value in asdict(self).items() if value is not None}
        content['cameras'] = [{**camera, 'transforms': list(camera['transforms'])}
                              for camera in content['cameras']]
        for key in ('state', 'action'):
            if key in content:
                content[key] = {**content[key], 'names': list(content[key]['names'])}
        return yaml.safe_dump(content, sort_keys=False)


def load_contract(name: str) -> ObservationContract:
    """
    Read a contract.

    :param name: of a file, or of one in ``config/contracts`` without ``.yaml``.
    :raises ContractError: it does not exist, or is not valid.
    """
    path = Path(name)
    if '/' not in name and not path.suffix:
        folder = find_share() / 'config' / 'contracts'
        path = folder / f'{name}.yaml'
        if not path.is_file():
            known = ', '.join(sorted(one.stem for one in folder.glob('*.yaml')))
            raise ContractError(f'contract {name!r}: it is no file, and none of those that '
                                f'ship: {known}')
    try:
        text = read_text(path, 2**20)
    except FileError as error:
        raise ContractError(f'contract {error}') from None
    return read_contract(text, str(path))


def read_contract(text: str, where: str) -> ObservationContract:
    """
    Read the text of a contract.

    :param where: what it is called in an error.
    :raises ContractError: it is not valid.
    """
    try:
        content = yaml.safe_load(text)
        return _contract(_table(content, ObservationContract, ''))
    except yaml.YAMLError as error:
        raise ContractError(f'contract {where}: not valid YAML: {_one_line(error)}') from None
    except VlaError as error:
        raise ContractError(f'contract {where}: {error}') from None


def _contract(content: dict[str, Any]) -> ObservationContract:
    cameras = content.pop('cameras', None)
    if not isinstance(cameras, list):
        raise ParameterError('cameras', cameras, 'a list')
    made: dict[str, Any] = {'cameras': tuple(
        CameraInput(**_lists(_table(camera, CameraInput, 'camera'), 'transforms'))
        for camera in cameras)}
    for key in ('state', 'action'):
        if content.get(key) is not None:
            table = _lists(_table(content[key], VectorInput, key), 'names')
            made[key] = VectorInput(**({'align': 'next'} if key == 'action' else {}) | table)
        content.pop(key, None)
    return ObservationContract(**made, **content)


def _table(content: Any, kind: Any, what: str) -> dict[str, Any]:
    """Check the keys of a mapping against a dataclass's fields."""
    if not isinstance(content, Mapping):
        raise ParameterError(what or 'it', content, 'a table of names and values')
    known = {field.name: field for field in fields(kind)}
    prefix = f'{what}.' if what else ''
    for key in content:
        if key not in known:
            raise ParameterError(f'{prefix}{key}', content[key],
                                 f'left out; known are {", ".join(known)}')
    for key in ('cameras', 'name', 'topic', 'names'):
        if key in known and key not in content:
            raise ParameterError(f'{prefix}{key}', None, 'given')
    return dict(content)


def _lists(table: dict[str, Any], key: str) -> dict[str, Any]:
    if key in table:
        if not isinstance(table[key], Sequence) or isinstance(table[key], str):
            raise ParameterError(key, table[key], 'a list of names')
        table[key] = tuple(table[key])
    return table


def _check_topic(what: str, topic: Any) -> None:
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        raise ParameterError(what, topic, 'the name of a topic')


def _check_alignment(what: str, align: Any, allowed: tuple[str, ...], max_age: Any) -> None:
    if align not in allowed:
        raise ParameterError(f'align of {what}', align, f'one of {", ".join(allowed)}')
    if not _is_number(max_age, 1e-3, 3600.0):
        raise ParameterError(f'max_age of {what}', max_age, 'a number from 0.001 to 3600')


def _is_number(value: Any, least: float, most: float) -> bool:
    return (isinstance(value, (int, float)) and not isinstance(value, bool)
            and math.isfinite(value) and least <= value <= most)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())
