# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Photographs as a camera sees them that is moved slowly in front of them."""

from collections.abc import Sequence
import importlib.util
import math
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import UnidentifiedImageError

from vla_ros.errors import ImageError
from vla_ros.errors import UnsupportedError

#: Two photographs in the wheel of scikit-image, both given to the public domain (CC0): a cup of
#: coffee on a wooden table, by Rachel Michetti, and Chelsea the cat, by Stefan van der Walt.
PHOTOS = ('coffee.png', 'chelsea.png')


def find_photos() -> list[Path]:
    """
    Find the photographs that scikit-image brings; it is not imported and need not work.

    :raises UnsupportedError: it is not installed, or a distribution left its data out.
    """
    package = importlib.util.find_spec('skimage')
    folders = list(package.submodule_search_locations or []) if package else []
    paths = [Path(folder) / 'data' / name for folder in folders for name in PHOTOS]
    if not folders or not all(path.is_file() for path in paths):
        raise UnsupportedError(
            'photographs', 'those of the demo are part of scikit-image, which is '
            + ('here without them' if folders else 'not installed'),
            'pip install --no-deps scikit-image, or name other photographs')
    return paths


def read_photo(path: Path) -> Image.Image:
    """
    Read a photograph.

    :raises ImageError: the file is missing or holds no image.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert('RGB')
    except UnidentifiedImageError:
        raise ImageError(f'photograph {path}: not an image that Pillow can read') from None
    except (OSError, ValueError) as error:
        raise ImageError(f'photograph {path}: {error}') from None


class PhotoTour:
    """What a camera sees on its way over several photographs, one after the other."""

    #: How much larger than a frame a photograph is shown: the room for moving.
    _ZOOM = 1.5
    _SECONDS_EACH = 5.0

    def __init__(self, photos: Sequence[Image.Image], width: int = 640, height: int = 480) -> None:
        self._width = width
        self._height = height
        self._photos = [self._enlarge(photo) for photo in photos]

    def frame(self, seconds: float) -> np.ndarray:
        """Return the view at a time since the start: uint8 (height, width, 3) RGB, not copied."""
        photo = self._photos[int(seconds / self._SECONDS_EACH) % len(self._photos)]
        phase = 2.0 * math.pi * seconds / self._SECONDS_EACH
        left = round((photo.shape[1] - self._width) * (0.5 + 0.5 * math.sin(phase)))
        top = round((photo.shape[0] - self._height) * (0.5 + 0.5 * math.cos(2.0 * phase)))
        return photo[top:top + self._height, left:left + self._width]

    def _enlarge(self, photo: Image.Image) -> np.ndarray:
        """Scale a photograph, once, to cover the frame and the room around it."""
        scale = self._ZOOM * max(self._width / photo.width, self._height / photo.height)
        size = (math.ceil(photo.width * scale), math.ceil(photo.height * scale))
        return np.asarray(photo.resize(size, Image.Resampling.BICUBIC))
