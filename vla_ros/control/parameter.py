# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One parameter of a node: what ROS is told about it, and which values are allowed."""

from dataclasses import dataclass
import math
from typing import Union

from vla_ros.errors import ParameterError

Value = Union[bool, int, float, str, tuple[str, ...], tuple[float, ...]]

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
        if self.choices and isinstance(self.default, tuple):
            return f'a list of {", ".join(self.choices)}'
        if self.choices:
            return f'one of {", ".join(self.choices)}'
        if type(self.default) is int:
            return f'a whole number from {self.minimum:g} to {self.maximum:g}'
        if isinstance(self.default, float):
            return f'a number from {self.minimum:g} to {self.maximum:g}'
        if self._is_numbers:
            return 'a list of numbers'
        return _TYPE_NAMES[type(self.default)]

    @property
    def _is_numbers(self) -> bool:
        return isinstance(self.default, tuple) and isinstance(self.default[0], float)

    def check(self, value: object) -> Value:
        """
        Return the value in the parameter's own type.

        :raises ParameterError: it has another type or lies outside what is allowed.
        """
        if isinstance(self.default, tuple) and isinstance(value, (list, tuple)):
            value = tuple(item for item in value if item != '')
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(self.default):
            raise ParameterError(self.name, value, self.allowed)
        items = value if isinstance(value, tuple) else (value,)
        if isinstance(value, tuple):
            kinds = (float, int) if self._is_numbers else (str,)
            if not all(type(item) in kinds for item in value):
                raise ParameterError(self.name, value, self.allowed)
        if self.choices and any(item not in self.choices for item in items):
            raise ParameterError(self.name, value, self.allowed)
        # Written so that NaN, which compares false with everything, is refused.
        if isinstance(value, (int, float)) and not isinstance(value, bool) \
                and not self.minimum <= value <= self.maximum:
            raise ParameterError(self.name, value, self.allowed)
        return value  # type: ignore[return-value]  # the checks above leave nothing else
