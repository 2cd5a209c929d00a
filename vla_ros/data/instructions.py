# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What an instruction may be, wherever it comes from: a topic, a file, a request, a person."""

import re

from vla_ros.errors import ObservationError

#: Characters of the longest instruction: more than any context of the family has room for.
LONGEST_INSTRUCTION = 4000
# Bytes that were not UTF-8 reach Python as half a surrogate pair (a command line, JSON), or as
# U+FFFD (a ROS message). Tab and line break are text: the prompt ``raw`` needs them.
_NOT_TEXT = re.compile('[\ud800-\udfff\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]')


class InstructionError(ObservationError):
    """An instruction that is no text, or far too long."""


def check_instruction(instruction: object, name: str = 'instruction') -> str:
    """
    Make sure that an instruction is text that a model can read.

    :param name: what the error calls it.
    :returns: the same.
    :raises InstructionError: it is no string, longer than 4000 characters, not valid Unicode, or
        contains control characters other than tab, line feed and carriage return.
    """
    if not isinstance(instruction, str):
        raise InstructionError(f'{name}: got {type(instruction).__name__}, it must be text')
    if len(instruction) > LONGEST_INSTRUCTION:
        raise InstructionError(f'{name}: got {len(instruction)} characters, it must be at most '
                               f'{LONGEST_INSTRUCTION}')
    found = _NOT_TEXT.search(instruction)
    if found is None:
        return instruction
    code = ord(found[0])
    problem = ('a control character; it must be without them, but for tab and line break'
               if code < 0xa0 else
               'left of bytes that were not UTF-8; it must be valid Unicode')
    raise InstructionError(f'{name}: character {found.start() + 1} of {len(instruction)} is '
                           f'U+{code:04X}, {problem}')
