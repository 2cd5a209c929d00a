# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
What the numbers of an action mean: period, space, frame, units, gripper; by ``unnorm_key``.

A checkpoint's statistics scale an action and say nothing more. These facts come from the public
sources that the description names. One that has no source is left out: the user describes such a
dataset.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import math
from pathlib import Path

from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.util.files import FileError
from vla_ros.util.files import read_text
from vla_ros.util.share import find_share
import yaml

SPACES = ('eef_delta', 'eef_pose', 'joint_delta', 'joint_position')
FRAMES = ('base', 'eef')
ROTATIONS = ('euler_xyz', 'axis_angle')
GRIPPER_COMMANDS = ('absolute', 'delta')
NORMALIZATIONS = ('bounds_q99', 'bounds')

_FACTS = ('period_s', 'space', 'frame', 'rotation', 'position_unit_m', 'rotation_unit_rad',
          'delta_gain', 'grippers', 'normalization', 'image_transforms', 'action_transforms',
          'sources')
# One line, as every error's sentence is; YAML's flow style makes that a valid file.
_EXAMPLE = (
    '{key}: {{period_s: 0.2, space: eef_delta, frame: base, rotation: euler_xyz, '
    'position_unit_m: 1.0, rotation_unit_rad: 1.0, '
    'grippers: [{{index: 6, open: 1.0, closed: 0.0, command: absolute}}], '
    'sources: {{all: where you know this from}}}}')


class DatasetError(VlaError):
    """A description of a dataset that is missing, incomplete or not valid."""


@dataclass(frozen=True)
class Gripper:
    """
    The gripper's index in an action.

    :param index: zero-based index in the action.
    :param open: value that opens it, in the dataset's units.
    :param closed: value that closes it; what lies between the two is the range.
    :param command: ``absolute``: the value is the opening; ``delta``: a change of it.
    """

    index: int
    open: float  # noqa: A003
    closed: float
    command: str = 'absolute'

    def __post_init__(self) -> None:
        """Reject what cannot be a gripper."""
        if self.index < 0:
            raise ParameterError('gripper index', self.index, 'zero or more')
        if not (math.isfinite(self.open) and math.isfinite(self.closed)) \
                or self.open == self.closed:
            raise ParameterError('gripper open and closed', (self.open, self.closed),
                                 'two different finite numbers')
        _check_choice('gripper command', self.command, GRIPPER_COMMANDS)


@dataclass(frozen=True)
class DatasetDescription:
    """
    Everything that turns a row of numbers into a motion; None where no source is known.

    :param key: the ``unnorm_key``.
    :param period_s: seconds from one action to the next.
    :param space: ``eef_delta``: x y z and three of rotation, changes from one step to the next;
        ``eef_pose``: the same, absolute; ``joint_delta``, ``joint_position``: one value a joint,
        radians, in the robot's order. Gripper values stand between or behind them.
    :param frame: whose axes translation and rotation refer to; of end-effector spaces.
    :param rotation: ``euler_xyz`` (roll about x, then pitch about y, then yaw about z, fixed
        axes) or ``axis_angle`` (a vector along the axis, as long as the angle).
    :param position_unit_m: metres that 1 of a translation stands for.
    :param rotation_unit_rad: radians that 1 of a rotation stands for.
    :param delta_gain: share of an end-effector delta that the arm moves in a period. A dataset
        whose actions were goals of a compliant controller has less than 1: each goal replaces the
        one before, from where the arm is by then. None: 1.
    :param grippers: one for each gripper; empty if the action has none; None: not known.
    :param normalization: statistics that -1 and 1 stand for, ``bounds_q99`` or ``bounds``.
    :param image_transforms: names of what the public evaluation does to images, see
        :mod:`vla_ros.data.transforms`; for information, never applied unasked.
    :param action_transforms: likewise for actions.
    :param sources: where each fact was found, by fact.
    """

    key: str
    period_s: float | None = None
    space: str | None = None
    frame: str | None = None
    rotation: str | None = None
    position_unit_m: float | None = None
    rotation_unit_rad: float | None = None
    delta_gain: float | None = None
    grippers: tuple[Gripper, ...] | None = None
    normalization: str = 'bounds_q99'
    image_transforms: tuple[str, ...] = ()
    action_transforms: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Reject values that no dataset can have."""
        for name in ('period_s', 'position_unit_m', 'rotation_unit_rad', 'delta_gain'):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ParameterError(f'{self.key}.{name}', value, 'a positive number')
        for name, allowed in (('space', SPACES), ('frame', FRAMES), ('rotation', ROTATIONS)):
            if getattr(self, name) is not None:
                _check_choice(f'{self.key}.{name}', getattr(self, name), allowed)
        _check_choice(f'{self.key}.normalization', self.normalization, NORMALIZATIONS)
        indices = [gripper.index for gripper in self.grippers or ()]
        if len(set(indices)) != len(indices):
            raise ParameterError(f'{self.key}.grippers', indices, 'of different indices')

    @property
    def missing(self) -> tuple[str, ...]:
        """Facts without which no arm may move."""
        wanted = ['period_s', 'space', 'grippers']
        if self.space is None or self.space.startswith('eef'):
            wanted += ['frame', 'rotation', 'position_unit_m', 'rotation_unit_rad']
        return tuple(name for name in wanted if getattr(self, name) is None)

    def require_motion(self) -> 'DatasetDescription':
        """
        Return self if an arm can be moved by it.

        :raises DatasetError: a fact is not known; the message shows what to write.
        """
        if self.missing:
            raise DatasetError(
                f'unnorm_key {self.key!r}: no public source gives {", ".join(self.missing)}, so '
                f'no arm may move by it; {advise_description(self.key)}')
        return self


def advise_description(key: str) -> str:
    """Return how a user describes a dataset, as the end of an error's sentence."""
    return ('describe it in a YAML file of your own, named as datasets_file, with a line like '
            f'this: {_EXAMPLE.format(key=key)} (period_s: seconds between actions; space: '
            f'{" | ".join(SPACES)}; frame: {" | ".join(FRAMES)}; rotation: '
            f'{" | ".join(ROTATIONS)}; frame to rotation_unit_rad only for end-effector spaces; '
            'grippers: [] if there is none)')


def load_datasets(own_file: str | Path | None = None) -> dict[str, DatasetDescription]:
    """
    Read the descriptions that come with the package, and the user's own over them.

    An own description replaces the one of the same key as a whole.

    :param own_file: YAML file of the same form as ``config/datasets.yaml``.
    :raises DatasetError: a file is missing or not valid.
    """
    datasets = read_datasets(find_share() / 'config' / 'datasets.yaml')
    if own_file is not None:
        datasets |= read_datasets(Path(own_file))
    return datasets


def find_dataset(key: str, own_file: str | Path | None = None) -> DatasetDescription:
    """
    Look up the description of one dataset.

    :raises DatasetError: it does not exist, or a file is not valid.
    """
    datasets = load_datasets(own_file)
    if key not in datasets:
        raise DatasetError(f'unnorm_key {key!r}: not a dataset whose actions are known, so no arm '
                           f'may move by it; {advise_description(key)}')
    return datasets[key]


def find_grippers(key: str, own_file: str | Path | None = None) -> tuple[int, ...]:
    """Return the indices of the grippers in an action; the last one if none is described."""
    description = load_datasets(own_file).get(key)
    if description is None or description.grippers is None:
        return (-1,)
    return tuple(gripper.index for gripper in description.grippers)


def read_datasets(path: Path) -> dict[str, DatasetDescription]:
    """
    Read one YAML file of descriptions by key.

    Entries whose name starts with a dot are kept for YAML anchors and ignored.

    :raises DatasetError: the file is missing, is no YAML, or an entry is not valid.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except FileError as error:
        raise DatasetError(f'datasets file {path}: {error.problem}') from None
    except RecursionError:
        raise DatasetError(f'datasets file {path}: it is nested too deeply') from None
    except yaml.YAMLError as error:
        raise DatasetError(f'datasets file {path}: not YAML: {error}') from None
    if not isinstance(content, dict):
        raise DatasetError(f'datasets file {path}: must hold descriptions by unnorm_key')
    try:
        return {key: _read_entry(key, entry) for key, entry in content.items()
                if not str(key).startswith('.')}
    except (ParameterError, DatasetError) as error:
        raise DatasetError(f'datasets file {path}: {error}') from None


def _read_entry(key: object, entry: object) -> DatasetDescription:
    if not isinstance(key, str) or not isinstance(entry, dict):
        raise DatasetError(f'{key}: must be a name with a mapping of facts')
    unknown = sorted(str(name) for name in entry if name not in _FACTS)
    if unknown:
        raise DatasetError(f'{key}: unknown facts {", ".join(unknown)}; '
                           f'known are {", ".join(_FACTS)}')
    facts = dict(entry)
    try:
        if facts.get('grippers') is not None:
            facts['grippers'] = tuple(Gripper(**gripper) for gripper in facts['grippers'])
        for name in ('image_transforms', 'action_transforms'):
            facts[name] = tuple(facts.get(name) or ())
        return DatasetDescription(key, **facts)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f'{key}: {error}') from None


def _check_choice(name: str, value: object, allowed: Iterable[str]) -> None:
    if value not in tuple(allowed):
        raise ParameterError(name, value, f'one of {", ".join(allowed)}')
