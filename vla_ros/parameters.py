# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The node's parameters: one table, validated once.

Each field of :class:`NodeConfig` is one parameter. What ROS is told about it (name, description,
range, read-only) is written at the field and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import Field
from dataclasses import field
from dataclasses import fields
import math
from typing import Any
from typing import Union

from vla_ros.errors import ParameterError
from vla_ros.joint_command import ACTION_SPACES
from vla_ros.policy import ATTENTIONS
from vla_ros.policy import DEVICES
from vla_ros.policy import DTYPES
from vla_ros.policy import PROMPTS
from vla_ros.policy import QUANTIZATIONS

Value = Union[bool, float, str, tuple[str, ...]]

_TYPE_NAMES = {bool: 'true or false', float: 'a number', str: 'a string',
               tuple: 'a list of strings'}


@dataclass(frozen=True)
class Parameter:
    """
    What there is to know about one parameter, beside its value.

    :param name: as ROS knows it, a dot between group and name.
    :param default: its type is the parameter's type.
    :param choices: the closed set of a string, empty where any string will do.
    :param minimum: smallest number allowed, NaN where the parameter is not a number.
    :param maximum: largest number allowed, NaN where the parameter is not a number.
    :param read_only: set when the node starts and never again.
    """

    name: str
    default: Value
    description: str
    choices: tuple[str, ...] = ()
    minimum: float = math.nan
    maximum: float = math.nan
    read_only: bool = True

    @property
    def allowed(self) -> str:
        """What a value must be, as the end of the sentence "it must be …"."""
        if self.choices:
            return f'one of {", ".join(self.choices)}'
        if isinstance(self.default, float):
            return f'a number from {self.minimum:g} to {self.maximum:g}'
        return _TYPE_NAMES[type(self.default)]

    def check(self, value: object) -> Value:
        """
        Give the value in the parameter's own type.

        :raises ParameterError: it has another type or lies outside what is allowed.
        """
        if isinstance(self.default, tuple) and isinstance(value, (list, tuple)):
            value = tuple(value)
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(self.default):
            raise ParameterError(self.name, value, self.allowed)
        if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
            raise ParameterError(self.name, value, self.allowed)
        if self.choices and value not in self.choices:
            raise ParameterError(self.name, value, self.allowed)
        # Written so that NaN, which compares false with everything, is refused.
        if isinstance(value, float) and not self.minimum <= value <= self.maximum:
            raise ParameterError(self.name, value, self.allowed)
        return value  # type: ignore[return-value]  # the checks above leave nothing else


def _parameter(name: str, default: Value, description: str, **limits: Any) -> Any:
    return field(default=default,
                 metadata={'parameter': Parameter(name, default, description, **limits)})


@dataclass(frozen=True)
class NodeConfig:
    """The parameters of ``vla_inference_node``; a value that is not allowed cannot be in it."""

    checkpoint: str = _parameter(
        'checkpoint', '', 'Folder of an OpenVLA checkpoint, or a hub id owner/name.')
    unnorm_key: str = _parameter(
        'unnorm_key', '', 'Dataset whose statistics scale the action; empty if there is only one.')
    instruction: str = _parameter(
        'instruction', '', 'What the arm is to do, as a sentence; empty to wait for one. '
        'The topic vla/instruction sets the same state.', read_only=False)
    device: str = _parameter(
        'device', 'auto', 'Where the policy runs; auto takes a GPU where there is one.',
        choices=DEVICES)
    dtype: str = _parameter(
        'dtype', 'auto', 'Precision of the weights; auto is bfloat16 on a GPU, float32 elsewhere.',
        choices=DTYPES)
    attention: str = _parameter(
        'attention', 'auto', 'Attention kernel; auto takes the fastest that the device can run.',
        choices=ATTENTIONS)
    quantization: str = _parameter(
        'quantization', 'none', 'How the weights of the language model are compressed.',
        choices=QUANTIZATIONS)
    prompt: str = _parameter(
        'prompt', 'auto', 'Prompt template; auto reads it from the checkpoint.', choices=PROMPTS)
    autostart: bool = _parameter(
        'autostart', True, 'Configure and activate at start, without a lifecycle manager.')
    action_space: str = _parameter(
        'action.space', 'raw', 'What the numbers of an action are. raw: published as they are, '
        'under the names of their dimensions; joint_position: joint targets (rad, m); '
        'joint_delta: changes of the measured joint positions (rad, m).', choices=ACTION_SPACES)
    joint_names: tuple[str, ...] = _parameter(
        # A list with one empty name stands for an empty list, which rclpy takes for bytes.
        'action.joint_names', ('',), 'Joint of each action dimension, for the joint_* spaces.')
    image_timeout: float = _parameter(
        'image.timeout', 1.0, 'Seconds without an image after which the status says so.',
        minimum=0.05, maximum=60.0)
    status_period: float = _parameter(
        'status.period', 1.0, 'Seconds between two vla/status and diagnostics messages; a change '
        'of state is published at once.', minimum=0.05, maximum=10.0)

    def __post_init__(self) -> None:
        """Check every value against the table."""
        for parameter, column in _columns():
            object.__setattr__(self, column.name, parameter.check(getattr(self, column.name)))
        object.__setattr__(self, 'joint_names', tuple(filter(None, self.joint_names)))

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> 'NodeConfig':
        """
        Make the configuration from values under the parameters' ROS names.

        :raises ParameterError: a value is not allowed.
        """
        return cls(**{column.name: values[parameter.name]  # type: ignore[arg-type]
                      for parameter, column in _columns() if parameter.name in values})


def _columns() -> list[tuple[Parameter, 'Field[Any]']]:
    return [(column.metadata['parameter'], column) for column in fields(NodeConfig)]


#: The table, in the order in which ``ros2 param dump`` lists it for a reader.
PARAMETERS = tuple(parameter for parameter, _ in _columns())
