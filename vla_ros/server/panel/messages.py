# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The websocket's messages: those of a page, and the format of an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
import json
import struct
from typing import Any

from vla_ros.data.instructions import check_instruction
from vla_ros.errors import VlaError
from vla_ros.server.panel.robot import CameraImage
from vla_ros.server.panel.robot import TaskRequest

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
        and ``release`` (control), ``instruct``, ``call`` or ``start_task``.
    :param number: repeated in the reply.
    :param text: the instruction, the service, or what was seen.
    :param force: of ``take``: also from another viewer.
    :param task: of ``start_task``.
    """

    kind: str
    number: int = 0
    text: str = ''
    force: bool = False
    task: TaskRequest | None = None


#: The entry that carries the text, by kind; empty where there is none.
_TEXTS = {'seen': 'what', 'stop': '', 'release_stop': '', 'take': '', 'release': '',
          'instruct': 'instruction', 'call': 'service', 'start_task': 'instruction'}
#: The other entries of a task, with their types.
_TASK = {'timeout': (int, float), 'success': (str,), 'success_name': (str,),
         'rest_time': (int, float)}


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
    task = _read_task(content) if kind == 'start_task' else None
    if type(number) is not int or not 0 <= number < 2 ** 53 or type(force) is not bool \
            or not isinstance(text, str) or content:
        raise MessageError(f'{kind}: must have an id, a whole number; '
                           f'{_TEXTS[kind] or "nothing else"}, a text')
    if _TEXTS[kind] == 'instruction':
        text = check_instruction(text).strip()
    return Message(kind, number, text, force, task and replace(task, instruction=text))


def _read_task(content: dict[str, Any]) -> TaskRequest:
    """Read the entries of a task from a message."""
    values = {name: content.pop(name, None) for name in _TASK}
    for name, value in values.items():
        # A truth value is an int in Python; a number of 400 digits is no float.
        if type(value) not in _TASK[name] or isinstance(value, int) and abs(value) > 2 ** 53:
            raise MessageError(f'start_task: {name} must be a {_TASK[name][-1].__name__}')
        if isinstance(value, str):
            check_instruction(value, name)
    return TaskRequest('', **values)


def pack_image(image: CameraImage) -> bytes:
    """Pack an image: four bytes with the length of the JSON that follows, then the JPEG."""
    details = write({'camera': image.camera, **image.details}).encode()
    return _LENGTH.pack(len(details)) + details + image.jpeg


def write(content: Mapping[str, object]) -> str:
    """Write a message for the page."""
    return json.dumps(content, allow_nan=False, separators=(',', ':'))
