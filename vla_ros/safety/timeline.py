# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Reads a black box as a timeline with its last image."""

from collections.abc import Iterator
from dataclasses import dataclass
import io
from pathlib import Path
import struct
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.errors import VlaError
from vla_ros.safety import black_box
from vla_ros.util.packages import missing_package

#: From dark to light.
_SHADES = ' .:-=+*#%@'


class BlackBoxError(VlaError):
    """A file that is no black box, or a damaged one."""


@dataclass(frozen=True)
class Moment:
    """
    One line of a timeline.

    :param seconds: before the end of the recording, negative.
    """

    seconds: float
    what: str
    text: str


def timeline(path: Path) -> tuple[list[Moment], np.ndarray | None]:
    """
    Read a black box.

    :returns: events in order, and the last image, uint8 (H, W, 3), if there is one.
    :raises BlackBoxError: the file is missing, damaged or of another kind.
    """
    messages = _read(path)
    if not messages:
        raise BlackBoxError(f'black box {path}: it holds no messages')
    end = messages[-1][0]
    moments, image = [], None
    for moment, topic, message in _merged(messages):
        if topic == black_box.FRAMES:
            image = np.asarray(Image.open(io.BytesIO(bytes(message.data))).convert('RGB'))
        what, text = _describe(topic, message)
        moments.append(Moment((moment - end) / 1e9, what, text))
    return moments, image


def render(image: np.ndarray, width: int, colours: bool) -> str:
    """
    Draw an image on a terminal.

    :param image: uint8 (H, W, 3).
    :param width: in characters.
    :param colours: the terminal shows them; else shades of text are used.
    """
    # A character is about twice as high as wide; with colours it shows two pixels, one above
    # the other.
    height = max(1, round(image.shape[0] * width / image.shape[1] / 2))
    if not colours:
        grey = np.asarray(Image.fromarray(image).convert('L').resize((width, height)))
        shades = grey.astype(int) * (len(_SHADES) - 1) // 255
        return '\n'.join(''.join(_SHADES[shade] for shade in row) for row in shades)
    pixels = np.asarray(Image.fromarray(image).resize((width, 2 * height)))
    return '\n'.join(''.join(_half_blocks(upper, lower)) + '\x1b[0m'
                     for upper, lower in zip(pixels[::2], pixels[1::2]))


def _half_blocks(upper: np.ndarray, lower: np.ndarray) -> Iterator[str]:
    for (r, g, b), (s, h, c) in zip(upper.tolist(), lower.tolist()):
        yield f'\x1b[38;2;{r};{g};{b};48;2;{s};{h};{c}m▀'


def _read(path: Path) -> list[tuple[int, str, Any]]:
    try:
        from mcap.exceptions import McapError
        from mcap.reader import make_reader
        from mcap_ros2.decoder import DecoderFactory
    except ImportError as error:
        raise missing_package('black box', error) from None
    try:
        with path.open('rb') as file:
            reader = make_reader(file, decoder_factories=[DecoderFactory()])
            return [(message.log_time, channel.topic, content)
                    for _, channel, message, content in reader.iter_decoded_messages()]
    except OSError as error:
        raise BlackBoxError(f'black box {path}: {error}') from None
    except (McapError, struct.error, ValueError, EOFError) as error:
        raise BlackBoxError(f'black box {path}: damaged, or no MCAP file: '
                            f'{type(error).__name__} {error}') from None


def _merged(messages: list[tuple[int, str, Any]]) -> Iterator[tuple[int, str, Any]]:
    """Keep only, of commands and measurements, the last before each other event."""
    waiting: dict[str, tuple[int, str, Any]] = {}
    for entry in messages:
        if _is_joints(entry[2]):
            waiting[entry[1]] = entry
            continue
        yield from waiting.values()
        waiting.clear()
        yield entry
    yield from waiting.values()


def _is_joints(message: Any) -> bool:
    return hasattr(message, 'position')


def _describe(topic: str, message: Any) -> tuple[str, str]:
    if topic == black_box.EVENTS:
        return 'event', message.msg
    if topic == black_box.FRAMES:
        return 'frame', f'{message.header.frame_id or "image"} of {_time(message.header.stamp)}'
    if topic in (black_box.RESULTS, '/vla/answers'):  # the name in files of older versions
        values = {pair.key: pair.value for pair in message.status[0].values}
        stages = ' '.join(f'{key.removesuffix(" [ms]")} {value}' for key, value in values.items()
                          if key.endswith('[ms]'))
        return 'result', (f'tokens {values["token ids"]} margins {values["margins"]} '
                          f'action {values["action"]} ms: {stages}')
    positions = ' '.join(f'{name} {position:.3f}'
                         for name, position in zip(message.name, message.position))
    return topic, positions


def _time(stamp: Any) -> str:
    return f'{stamp.sec}.{stamp.nanosec:09d}'
