# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Letterbox, resize and crop of frames of one size, on any device."""

from dataclasses import dataclass

from PIL import Image
import torch
from torch import Tensor

from vla_ros.data.preprocess import TowerTransform
from vla_ros.model.resize import find_resize
from vla_ros.model.resize import Resize


@dataclass(frozen=True)
class Geometry:
    """
    Letterbox, resize and crop for frames of one size.

    :param padding: rows above and below, columns left and right.
    :param crop: rows and columns of the result to take.
    """

    padding: tuple[int, int]
    fill: Tensor
    resize: Resize
    crop: tuple[slice, slice]

    def __call__(self, frame: Tensor) -> Tensor:
        """Shape a uint8 (H, W, 3) frame."""
        vertical, horizontal = self.padding
        if vertical or horizontal:
            height, width, _ = frame.shape
            padded = self.fill.repeat(height + 2 * vertical, width + 2 * horizontal, 1)
            padded[vertical:vertical + height, horizontal:horizontal + width] = frame
            frame = padded
        return self.resize(frame)[self.crop]


def find_geometry(tower: TowerTransform, fill: tuple[int, int, int] | None, height: int,
                  width: int, device: torch.device) -> Geometry | None:
    """Return the geometry of one frame size for a tower; None if it is not bit-equal to Pillow."""
    vertical = horizontal = 0
    if fill is not None:
        side = max(height, width)
        vertical, horizontal = int((side - height) / 2), int((side - width) / 2)
        height, width = height + 2 * vertical, width + 2 * horizontal
    out_width, out_height = tower.resized((width, height))
    crop_height, crop_width = tower.crop
    top, left = round((out_height - crop_height) / 2), round((out_width - crop_width) / 2)
    is_supported = tower.interpolation == Image.Resampling.BICUBIC and top >= 0 and left >= 0
    resize = find_resize(height, width, out_height, out_width, device) if is_supported else None
    if resize is None:
        return None
    return Geometry((vertical, horizontal),
                    torch.tensor(fill or (0, 0, 0), dtype=torch.uint8, device=device), resize,
                    (slice(top, top + crop_height), slice(left, left + crop_width)))
