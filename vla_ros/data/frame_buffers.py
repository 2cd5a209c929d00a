# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The image preprocessing for frame after frame: the same bits, in memory that is kept."""

import numpy as np
from PIL import Image

from vla_ros.data.preprocess import ImageProcessor
from vla_ros.data.preprocess import letterbox
from vla_ros.data.preprocess import TowerTransform


class FrameProcessor:
    """
    Does what an :class:`ImageProcessor` does, without new arrays for each frame.

    Not thread-safe: the memory is that of the frame under way.
    """

    def __init__(self, processor: ImageProcessor) -> None:
        """Allocate what does not depend on the size of the frames."""
        self._processor = processor
        self._canvases = {tower.geometry: Canvas(tower.crop) for tower in processor.towers}
        self._frame: np.ndarray = np.empty((0, 0, 3), np.uint8)

    def __call__(self, image: np.ndarray, out: np.ndarray) -> None:
        """
        Preprocess one frame.

        :param image: uint8 (H, W, 3) RGB, of any strides.
        :param out: float32 (3·towers, S, S), written to: the towers' channels.
        """
        pil = Image.fromarray(self._contiguous(image))
        if self._processor.letterbox_fill is not None:
            pil = letterbox(pil, self._processor.letterbox_fill)
        towers = self._processor.towers
        for geometry, canvas in self._canvases.items():
            canvas.paste(next(tower for tower in towers if tower.geometry == geometry)
                         .shape_pixels(pil))
        for index, tower in enumerate(towers):
            _normalize(tower, self._canvases[tower.geometry].pixels,
                       out[3 * index:3 * index + 3])

    def _contiguous(self, image: np.ndarray) -> np.ndarray:
        """Return the frame without gaps, as Pillow reads it without a copy of its own."""
        if image.flags.c_contiguous:
            return image
        if self._frame.shape != image.shape:
            self._frame = np.empty(image.shape, np.uint8)
        np.copyto(self._frame, image)
        return self._frame


class Canvas:
    """An array that Pillow pastes into: its way of handing pixels over makes a new one each."""

    def __init__(self, size: tuple[int, int]) -> None:
        """
        Allocate the array.

        :param size: (height, width).
        """
        height, width = size
        # Pillow keeps RGB in four bytes, too.
        memory: np.ndarray = np.zeros((height, width, 4), np.uint8)
        self.pixels = memory[..., :3]
        self._image = Image.frombuffer('RGBX', (width, height), memory, 'raw', 'RGBX', 0, 1)
        # Pillow takes shared memory for read-only, and would paste into a copy.
        self._image.readonly = 0

    def paste(self, image: Image.Image) -> None:
        """Write an RGB image of the canvas' size to ``pixels``."""
        self._image.paste(image)


def _normalize(tower: TowerTransform, pixels: np.ndarray, out: np.ndarray) -> None:
    """
    Scale and normalise as the official code does: the same float32 operations, in their order.

    :param pixels: uint8 (H, W, 3).
    :param out: float32 (3, H, W).
    """
    np.copyto(out, pixels.transpose(2, 0, 1))
    np.divide(out, np.float32(255), out=out)
    for plane, mean, std in zip(out, tower.mean, tower.std):
        np.subtract(plane, np.float32(mean), out=plane)
        np.divide(plane, np.float32(std), out=plane)
