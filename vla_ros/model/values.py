# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Values out of a checkpoint's JSON files, each of the type and in the range that it must have.

A key that is absent, or null, has its default, as in the official code.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import reprlib
from typing import Any


class ConfigValueError(ValueError):
    """A value that cannot be used; its sentence has name, value and what is allowed."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f'{name}: got {reprlib.repr(value)}, it must be {allowed}')


def integer(raw: Mapping[str, Any], name: str, default: Any, least: int, most: int,
            prefix: str = '') -> Any:
    """
    Read a whole number.

    :param default: of an absent key; None where there need not be one.
    :param prefix: what stands before the name in an error.
    :raises ConfigValueError: it is something else, or out of range.
    """
    value = _value(raw, name, default)
    if value is default:
        return value
    return check_integer(value, prefix + name, least, most)


def check_integer(value: Any, name: str, least: int, most: int) -> int:
    """
    Accept a whole number.

    :raises ConfigValueError: it is something else, or out of range.
    """
    is_whole = isinstance(value, float) and value.is_integer() or type(value) is int
    if not is_whole or not least <= value <= most:
        raise ConfigValueError(name, value, f'a whole number from {least} to {most}')
    return int(value)


def number(raw: Mapping[str, Any], name: str, default: Any, least: float, most: float,
           prefix: str = '') -> Any:
    """
    Read a finite number; see :func:`whole`.

    :raises ConfigValueError: it is something else, or out of range.
    """
    value = _value(raw, name, default)
    if value is default:
        return value
    if type(value) not in (int, float) or not least <= value <= most:  # NaN is in no range
        raise ConfigValueError(prefix + name, value, f'a number from {least:g} to {most:g}')
    return float(value)


def flag(raw: Mapping[str, Any], name: str, default: Any, prefix: str = '') -> Any:
    """
    Read a truth value; see :func:`whole`.

    :raises ConfigValueError: it is something else.
    """
    value = _value(raw, name, default)
    if value is not default and not isinstance(value, bool):
        raise ConfigValueError(prefix + name, value, 'true or false')
    return value


def text(raw: Mapping[str, Any], name: str, default: Any, prefix: str = '') -> Any:
    """
    Read a string; see :func:`whole`.

    :raises ConfigValueError: it is something else.
    """
    value = _value(raw, name, default)
    if value is not default and not isinstance(value, str):
        raise ConfigValueError(prefix + name, value, 'a string')
    return value


def mapping(raw: Mapping[str, Any], name: str, prefix: str = '') -> Mapping[str, Any]:
    """
    Read a JSON object; an absent one is empty.

    :raises ConfigValueError: it is something else.
    """
    value = _value(raw, name, {})
    if not isinstance(value, dict):
        raise ConfigValueError(prefix + name, value, 'an object')
    return value


def strings(raw: Mapping[str, Any], name: str, default: Sequence[Any]) -> Sequence[Any]:
    """
    Read a list of strings, in which null may stand; an absent or empty one has its default.

    :raises ConfigValueError: it is something else.
    """
    value = _value(raw, name, []) or default
    if not isinstance(value, list) or not all(item is None or isinstance(item, str)
                                              for item in value):
        raise ConfigValueError(name, value, 'a list of strings')
    return value


def _value(raw: Mapping[str, Any], name: str, default: Any) -> Any:
    value = raw.get(name)
    return default if value is None else value
