# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The websocket's messages: those of a page, and the format of an image."""

from collections.abc import Mapping
from dataclasses import dataclass
import json
import struct

from vla_ros.data.instructions import check_instruction
from vla_ros.errors import VlaError
from vla_ros.server.panel.robot import Picture

#: Bytes of the largest message that a page may send: the longest instruction, escaped.
MAX_BYTES = 65536
_LENGTH = struct.Struct('>I')


class MessageError(VlaError):
    """A message that is not one of the protocol's."""


@dataclass(frozen=True)
class Message:
    """
    A message of a page.

    :param kind: ``seen`` (a state or an image was drawn), ``stop``, ``release_stop``, ``take``
        and ``release`` (control), ``instruct`` or ``call``.
    :param number: repeated in the reply.
    :param text: the instruction, the service, or what was seen.
    :param force: of ``take``: also from another viewer.
    """

    kind: str
    number: int = 0
    text: str = ''
    force: bool = False


#: The entry that carries the text, by kind; empty where there is none.
_TEXTS = {'seen': 'what', 'stop': '', 'release_stop': '', 'take': '', 'release': '',
          'instruct': 'instruction', 'call': 'service'}


def read_message(data: str | bytes | None) -> Message:
    """
    Read a message of a page.

    :raises MessageError: it is none.
    """
    if not isinstance(data, str):
        raise MessageError('a message must be text')
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise MessageError('a message must be JSON') from None
    kind = content.pop('type', None) if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _TEXTS:
        raise MessageError(f'a message must be an object whose type is one of {", ".join(_TEXTS)}')
    number = content.pop('id', 0)
    force = content.pop('force', False) if kind == 'take' else False
    text = content.pop(_TEXTS[kind], None) if _TEXTS[kind] else ''
    if type(number) is not int or not 0 <= number < 2 ** 53 or type(force) is not bool \
            or not isinstance(text, str) or content:
        raise MessageError(f'{kind}: must have an id, a whole number; '
                           f'{_TEXTS[kind] or "nothing else"}, a text')
    if kind == 'instruct':
        text = check_instruction(text).strip()
    return Message(kind, number, text, force)


def pack_picture(picture: Picture) -> bytes:
    """Pack an image: four bytes with the length of the JSON that follows, then the JPEG."""
    details = write({'camera': picture.camera, **picture.details}).encode()
    return _LENGTH.pack(len(details)) + details + picture.jpeg


def write(content: Mapping[str, object]) -> str:
    """Write a message for the page."""
    return json.dumps(content, allow_nan=False, separators=(',', ':'))
