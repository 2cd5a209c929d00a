# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Which files are black boxes that this project wrote: by their names and by what is in them."""

from pathlib import Path
import re
import struct

SUFFIX = '.mcap'
#: Name of the record by which a black box is known; it stands first, before any message.
METADATA = 'vla_ros'

_NAME = re.compile(r'\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}_\w{0,40}\.mcap')
# Source of the format: mcap.dev/spec. A record is an opcode, its length and its content.
_MAGIC = b'\x89MCAP0\r\n'
_HEADER, _METADATA = 0x01, 0x0c
_RECORD = struct.Struct('<BQ')
_LENGTH = struct.Struct('<I')
#: Bytes of the longest header; ours have some fifty.
_LONGEST = 4096


def is_own(path: Path) -> bool:
    """
    Return whether a file is a black box: named like one, and beginning as one.

    Links, unreadable files and files rewritten by other programs are no black boxes.
    """
    if not _NAME.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open('rb') as file:
            start = file.read(2 * _LONGEST)
    except OSError:
        return False
    return _has_metadata(start)


def _has_metadata(start: bytes) -> bool:
    """Find our record right behind the header."""
    if not start.startswith(_MAGIC):
        return False
    try:
        opcode, length = _RECORD.unpack_from(start, len(_MAGIC))
        if opcode != _HEADER or length > _LONGEST:
            return False
        place = len(_MAGIC) + _RECORD.size + length
        opcode, _ = _RECORD.unpack_from(start, place)
        place += _RECORD.size
        size, = _LENGTH.unpack_from(start, place)
    except struct.error:
        return False
    place += _LENGTH.size
    return opcode == _METADATA and start[place:place + size] == METADATA.encode()
