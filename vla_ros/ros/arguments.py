# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The arguments of a node: its own options, ROS arguments, and a table of parameters."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
import sys
import textwrap

from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from vla_ros.control.parameter import Parameter
from vla_ros.control.parameter import Value
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.util.argument_parser import ArgumentParser

#: New names of parameters, or of their first parts, by the old ones.
_RENAMED = {'gates.': 'action_limits.', 'picture.': 'stream.', 'answer_within': 'result_within'}


def node_parser(program: str, purpose: str,
                table: Iterable[Parameter]) -> argparse.ArgumentParser:
    """Make the parser of a node's own options, whose ``--help`` lists its parameters."""
    lines = ['ROS arguments follow --ros-args: -p NAME:=VALUE sets a parameter, --params-file',
             'FILE several, -r FROM:=TO gives a topic another name.', '', 'parameters:']
    for parameter in table:
        default = parameter.default
        usual = 'empty' if default == '' or isinstance(default, tuple) else default
        lines += textwrap.wrap(f'{parameter.name}: {parameter.description} It is '
                               f'{parameter.allowed}; by default {usual}.', 96,
                               initial_indent='  ', subsequent_indent='      ',
                               break_on_hyphens=False)
    return ArgumentParser(
        prog=program, description=purpose, epilog='\n'.join(lines),
        advice='parameters follow --ros-args, as -p NAME:=VALUE',
        formatter_class=argparse.RawDescriptionHelpFormatter)


def start_ros(parser: argparse.ArgumentParser,
              arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """
    Initialise rclpy without signal handlers, and read the node's own options.

    :param arguments: the command line with the name of the program, this process's if None.
    :raises VlaError: the ROS arguments cannot be read.
    """
    words = list(sys.argv if arguments is None else arguments)
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise VlaError(f'ROS arguments: {word[:80]!r} is not valid UTF-8') from None
    try:
        own = parser.parse_args(remove_ros_args(words)[1:])
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise VlaError(f'ROS arguments: {error}; --help says how they are written') from None
    return own


def declare(node: Node, table: Iterable[Parameter]) -> dict[str, Value]:
    """
    Declare parameters, and return their values by name.

    :raises ParameterError: a value is not allowed.
    :raises rclpy.exceptions.ParameterException: a value has a type that ROS refuses.
    """
    _refuse_old_names(node)
    values = {}
    for parameter in table:
        default = parameter.default
        declared = node.declare_parameter(
            parameter.name, list(default) if isinstance(default, tuple) else default,
            _descriptor(parameter))
        values[parameter.name] = parameter.check(declared.value)
    return values


def _refuse_old_names(node: Node) -> None:
    # ROS ignores values of undeclared parameters: a limit that was set under
    # its old name would not limit.
    for name, parameter in node._parameter_overrides.items():
        for old, new in _RENAMED.items():
            if name.startswith(old):
                raise ParameterError(name, parameter.value, 'set under its new name, '
                                     f'{new}{name.removeprefix(old)}')


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Return a parameter of the table as ROS describes it."""
    descriptor = ParameterDescriptor(
        description=parameter.description, read_only=parameter.read_only,
        additional_constraints=f'it must be {parameter.allowed}')
    if type(parameter.default) is int:
        descriptor.integer_range = [IntegerRange(
            from_value=int(parameter.minimum), to_value=int(parameter.maximum))]
    if isinstance(parameter.default, float):
        # Dynamic so that a whole number in a YAML file will do, too; the table checks the type.
        descriptor.dynamic_typing = True
        descriptor.floating_point_range = [FloatingPointRange(
            from_value=parameter.minimum, to_value=parameter.maximum)]
    return descriptor
