# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Image preprocessing as the official processor does it, bit for bit, with Pillow and numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np
from PIL import Image
from PIL import ImageOps

from vla_ros.errors import VlaError

# Images larger than any tower takes would fill the memory.
_MOST_PIXELS = 8192


class PreprocessorError(VlaError):
    """A preprocessor_config.json that does not describe a known preprocessing."""


@dataclass(frozen=True)
class TowerTransform:
    """
    Resize, crop and normalisation of one vision tower.

    :param resize: side that the shorter edge gets (aspect kept), or (height, width).
    :param crop: (height, width) of the center crop that follows.
    :param interpolation: Pillow's number of the filter (3 is bicubic).
    :param mean: of each channel, after scaling to [0, 1].
    :param std: likewise.
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    interpolation: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Reject numbers that make no image, or one of another value range."""
        sides = (self.resize,) if isinstance(self.resize, int) else self.resize
        if not all(type(side) is int and 1 <= side <= _MOST_PIXELS
                   for side in (*sides, *self.crop)):
            raise ValueError(f'sizes {self.resize!r} and {self.crop!r} must be whole numbers from '
                             f'1 to {_MOST_PIXELS}')
        if self.interpolation not in {item.value for item in Image.Resampling}:
            raise ValueError(f"interpolation {self.interpolation!r} is none of Pillow's")
        for name, values in (('mean', self.mean), ('std', self.std)):
            if len(values) != 3 or not all(type(value) in (int, float) and math.isfinite(value)
                                           for value in values):
                raise ValueError(f'{name} {values!r} must be three finite numbers')
        if not all(value > 0 for value in self.std):
            raise ValueError(f'std {self.std!r} must be above zero')

    @property
    def geometry(self) -> tuple:
        """What decides the shape of the result; towers that agree in it share one."""
        return self.resize, self.crop, self.interpolation

    def shape_pixels(self, image: Image.Image) -> Image.Image:
        """Resize and crop."""
        width, height = self.resized(image.size)
        # torchvision returns the image itself where nothing changes; Pillow's copy is the same.
        image = image.resize((width, height), Image.Resampling(self.interpolation))
        crop_height, crop_width = self.crop
        # torchvision rounds half to even, as Python does
        left = int(round((width - crop_width) / 2.0))
        top = int(round((height - crop_height) / 2.0))
        if (left, top) != (0, 0) or (width, height) != (crop_width, crop_height):
            image = image.crop((left, top, left + crop_width, top + crop_height))
        return image

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) of an image of some (width, height) before the crop."""
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        width, height = size
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    @cached_property
    def table(self) -> np.ndarray:
        """
        Normalised value of every grey level and channel, float32 (3, 256).

        Scaling and normalising are functions of one byte, so a table gives the very bits of the
        official ``to_tensor`` and ``normalize``, without three passes over the image.
        """
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        mean = np.asarray(self.mean, np.float32)[:, None]
        std = np.asarray(self.std, np.float32)[:, None]
        return (levels - mean) / std


@dataclass(frozen=True)
class ImageProcessor:
    """
    From an image to the network's input.

    :param towers: one transform for each vision tower, in the order of their channels.
    :param letterbox_fill: RGB grey levels that pad an image to a square first; None: no padding.
    """

    towers: tuple[TowerTransform, ...]
    letterbox_fill: tuple[int, int, int] | None = None

    @classmethod
    def from_config(cls, config: Mapping,
                    name: str = 'preprocessor_config.json') -> 'ImageProcessor':
        """
        Read preprocessor_config.json.

        The stored ``tvf_*`` entries are the numbers that the official processor really uses: they
        overwrite what it computes from means and stds. Only where they are absent is that
        computation repeated here.

        :param name: of the file, for errors.
        :raises PreprocessorError: an entry is missing or of an unknown kind.
        """
        try:
            return cls._from_config(config)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError,
                OverflowError) as error:
            reason = ' '.join(repr(error).split())
            shown = reason if len(reason) < 300 else f'{reason[:297]}...'
            raise PreprocessorError(f'{name}: unusable entry ({shown})') from None

    @classmethod
    def _from_config(cls, config: Mapping) -> 'ImageProcessor':
        strategy = config.get('image_resize_strategy', 'letterbox')
        if strategy not in ('resize-naive', 'resize-crop', 'letterbox'):
            raise ValueError(f'image_resize_strategy {strategy!r} is not one of resize-naive, '
                             'resize-crop, letterbox')
        sizes = [tuple(size[-2:]) for size in config.get('input_sizes', [(3, 224, 224)])]
        means = config.get('means', [(0.5, 0.5, 0.5)])
        stds = config.get('stds', [(0.5, 0.5, 0.5)])
        computed_resize = [{'size': size if strategy == 'resize-naive' else size[0],
                            'interpolation': 3} for size in sizes]
        resizes = config.get('tvf_resize_params') or computed_resize
        crops = config.get('tvf_crop_params') or [{'output_size': size} for size in sizes]
        normals = config.get('tvf_normalize_params') or [
            {'mean': mean, 'std': std} for mean, std in zip(means, stds)]
        if not len(resizes) == len(crops) == len(normals):
            raise ValueError('tvf_resize_params, tvf_crop_params and tvf_normalize_params differ '
                             'in length')
        towers = tuple(
            TowerTransform(_resize_target(resize['size']), _pair(crop['output_size']),
                           resize.get('interpolation', 3),
                           tuple(normal['mean']), tuple(normal['std']))
            for resize, crop, normal in zip(resizes, crops, normals))
        do_letterbox = config.get('tvf_do_letterbox', strategy == 'letterbox')
        # Of several towers the last one's mean fills the border of all: the official loop
        # overwrites it.
        computed_fill = [int(255 * level) for level in means[-1]]
        fill = config.get('tvf_letterbox_fill') or computed_fill
        if not isinstance(do_letterbox, bool):
            raise ValueError(f'tvf_do_letterbox {do_letterbox!r} is neither true nor false')
        if not do_letterbox:
            return cls(towers)
        if len(fill) != 3 or not all(type(level) is int and 0 <= level <= 255 for level in fill):
            raise ValueError(f'tvf_letterbox_fill {fill!r} must be three levels from 0 to 255')
        return cls(towers, tuple(fill))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """
        Preprocess one image.

        :param image: uint8 (H, W, 3), RGB.
        :returns: float32 (3·towers, S, S), the towers' channels one after the other.
        """
        pil = Image.fromarray(np.ascontiguousarray(image))
        if self.letterbox_fill is not None:
            pil = letterbox(pil, self.letterbox_fill)
        shaped: dict[tuple, np.ndarray] = {}
        planes = []
        for tower in self.towers:
            if tower.geometry not in shaped:
                shaped[tower.geometry] = np.asarray(tower.shape_pixels(pil))
            planes += [tower.table[channel][shaped[tower.geometry][..., channel]]
                       for channel in range(3)]
        return np.stack(planes)


def letterbox(pil: Image.Image, fill: tuple[int, int, int]) -> Image.Image:
    """Pad to a square, like the official code one pixel off where the difference is odd."""
    width, height = pil.size
    side = max(width, height)
    horizontal, vertical = int((side - width) / 2), int((side - height) / 2)
    return ImageOps.expand(pil, (horizontal, vertical, horizontal, vertical), fill)


def _resize_target(size: int | list[int]) -> int | tuple[int, int]:
    # torchvision takes a list of one number as that number
    if isinstance(size, int):
        return size
    return size[0] if len(size) == 1 else _pair(size)


def _pair(size: int | list[int]) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width
