# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From the bytes of an image file, or of a compressed image message, to an array, and back."""

import io
from typing import Any
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL import UnidentifiedImageError

from vla_ros.errors import ImageError

_REMEDY = 'it must be an image like JPEG or PNG, with 8 bits a channel, in colour or grey'
#: Pillow's modes of grey and RGB with 8 bits a channel, with a palette or with transparency.
_READ = ('RGB', 'RGBA', 'RGBX', 'L', 'LA', 'P', 'PA')
_REASONS = {
    '1': 'it has 1 bit a pixel', 'CMYK': 'its colours are those of four inks (CMYK)',
    'F': 'it has 32 bits a pixel, as a number with a fraction',
    'HSV': 'its colours are HSV', 'I': 'it has 32 bits a pixel, or 16',
    'LAB': 'its colours are L*a*b*', 'YCbCr': 'its colours are YCbCr'}
_VIDEO = ('h264', 'h265', 'h.264', 'h.265', 'hevc', 'av1', 'vp8', 'vp9', 'mpeg')


def decode(kind: str, data: Any) -> np.ndarray:
    """
    Decode a compressed image message; it takes milliseconds, so not in a callback.

    The sentences of the errors are the same for every image of a stream, so that a log can tell
    that it is still the same problem.

    :param kind: the message's ``format``.
    :param data: the message's ``data``.
    :returns: uint8 (H, W, 3) RGB.
    :raises ImageError: it is damaged, a depth image, a piece of a video, or of another kind.
    """
    what = f'compressed image of format {kind[:80]!r}'
    lower = kind.lower()
    if 'compresseddepth' in lower:
        raise ImageError(f'{what}: a depth image; give the node the compressed topic of the '
                         'colour camera')
    if any(name in lower for name in _VIDEO):
        raise ImageError(f'{what}: a piece of a video, which cannot be read by itself; '
                         f'{_REMEDY}')
    if not len(data):
        raise ImageError(f'{what}: it is empty; {_REMEDY}')
    return decode_image(io.BytesIO(data), what)


def decode_image(source: BinaryIO, what: str) -> np.ndarray:
    """
    Decode an image file.

    :param what: what it is called in an error.
    :returns: uint8 (H, W, 3) RGB; transparency is left out, as the official code does.
    :raises ImageError: it is damaged, or not grey or RGB with 8 bits a channel.
    """
    kind = 'image'
    try:
        with Image.open(source) as pil:
            kind = pil.format or kind
            if pil.mode in _READ:
                return np.asarray(pil.convert('RGB'))
            mode = pil.mode
    except UnidentifiedImageError:
        raise ImageError(f'{what}: not an image that Pillow can read; {_REMEDY}') from None
    except Image.DecompressionBombError:
        raise ImageError(f'{what}: it has too many pixels: more than '
                         f'{2 * (Image.MAX_IMAGE_PIXELS or 0)}') from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise ImageError(f'{what}: a damaged {kind} ({type(error).__name__})') from None
    reason = 'it has 16 bits a pixel' if mode.startswith('I;') else _REASONS.get(
        mode, f'its pixels are of mode {mode}')
    raise ImageError(f'{what}: a {kind}, but {reason}; {_REMEDY}')


def encode_jpeg(image: np.ndarray, width: int, quality: int) -> tuple[bytes, tuple[int, int]]:
    """
    Make a JPEG file for people to look at.

    :param image: uint8 (H, W, 3) RGB.
    :param width: pixels; a wider image is made smaller.
    :param quality: 1 to 95.
    :returns: the file, and the width and height of what is in it.
    """
    pil = Image.fromarray(np.ascontiguousarray(image))
    if pil.width > width:
        height = max(1, round(pil.height * width / pil.width))
        pil = pil.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    stream = io.BytesIO()
    pil.save(stream, 'JPEG', quality=quality)
    return stream.getvalue(), pil.size
