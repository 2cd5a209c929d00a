# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From the frames of several cameras to the network's inputs."""

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from vla_ros.data.preprocess import ImageProcessor
from vla_ros.model.pixels import choose_pixel_loader
from vla_ros.model.pixels import PixelLoader
from vla_ros.model.timings import HostTimings

# Frame sizes whose tables and slots are kept.
_SIZES = 8


class BatchPixels:
    """Preprocesses frames of mixed sizes, one after the other."""

    def __init__(self, processor: ImageProcessor, like: Tensor) -> None:
        """
        Allocate nothing yet.

        :param like: (1, 3·towers, S, S), a network input of the right dtype and device.
        """
        self._processor = processor
        self._like = like
        # By frame size, the last used at the end: making one takes longer than a frame may.
        self._loaders: OrderedDict[tuple[int, ...], tuple[PixelLoader, Tensor]] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Tensor:
        """
        Preprocess a frame.

        :param image: uint8 (H, W, 3) RGB.
        :returns: (3·towers, S, S).
        :raises ObservationError: it is no image.
        """
        if image.shape not in self._loaders:
            pixels = torch.zeros_like(self._like)
            self._loaders[image.shape] = choose_pixel_loader(self._processor, pixels), pixels
        self._loaders.move_to_end(image.shape)
        if len(self._loaders) > _SIZES:
            self._loaders.popitem(last=False)
        load, pixels = self._loaders[image.shape]
        load(image, HostTimings())
        return pixels[0].clone()
