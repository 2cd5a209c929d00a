# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""From a frame to the network's input, on the device that computes the network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
import logging
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vla_ros.data.frame_buffers import FrameProcessor
from vla_ros.data.preprocess import ImageProcessor
from vla_ros.errors import ObservationError
from vla_ros.model.geometry import find_geometry
from vla_ros.model.geometry import Geometry
from vla_ros.model.graph_capture import CudaGraphs
from vla_ros.model.graph_capture import PlainCalls
from vla_ros.model.graph_capture import Recorder
from vla_ros.model.timings import Timings
from vla_ros.model.upload import PrefetchedFrame
from vla_ros.model.upload import Slot
from vla_ros.model.upload import UploadSlots

_logger = logging.getLogger(__name__)

#: Uploads a frame, uint8 (H, W, 3) RGB; None if it is uploaded with its inference.
Prefetch = Callable[[np.ndarray], PrefetchedFrame | None]


class PixelLoader(Protocol):
    """Preprocesses frames into the network's input."""

    @property
    def prefetch(self) -> Prefetch | None:
        """Uploads a frame before its inference, from any thread; None where nothing is gained."""

    def __call__(self, image: np.ndarray, timings: Timings,
                 prefetched: PrefetchedFrame | None = None) -> None:
        """
        Preprocess a frame.

        :param image: uint8 (H, W, 3) RGB.
        :param timings: gets the phase ``preprocess``, on a GPU ``upload`` before it.
        :param prefetched: the result of :attr:`prefetch` for this frame, if there is one.
        """


class HostPixels:
    """Preprocesses with Pillow on the host, and uploads the result where the device is another."""

    #: Pillow reads the frame in place.
    prefetch: Prefetch | None = None

    def __init__(self, processor: ImageProcessor, pixels: Tensor) -> None:
        """
        Allocate the memory of any frame size.

        :param pixels: (1, 3·towers, S, S), written to.
        """
        self._process = FrameProcessor(processor)
        self._pixels = pixels
        is_direct = pixels.device.type == 'cpu' and pixels.dtype == torch.float32
        self._values = pixels if is_direct else torch.empty(pixels.shape, dtype=torch.float32)
        # In the target's dtype: the copy to the device then neither converts nor allocates.
        self._pinned = pixels if pixels.device.type == 'cpu' else torch.empty(
            pixels.shape, dtype=pixels.dtype, pin_memory=True)
        self._array = self._values[0].numpy()

    def __call__(self, image: np.ndarray, timings: Timings,
                 prefetched: PrefetchedFrame | None = None) -> None:
        """Preprocess a frame, uint8 (H, W, 3) RGB."""
        self._process(image, self._array)
        if self._values is not self._pinned:
            self._pinned.copy_(self._values)
        if self._pinned is not self._pixels:
            self._pixels.copy_(self._pinned, non_blocking=True)
        timings.finish('preprocess')


@dataclass(frozen=True)
class FrameBuffers:
    """
    What preprocessing reads and writes.

    :param frame: uint8 (H, W, 3), a frame on the device.
    :param pixels: (1, 3·towers, S, S), the network's input.
    """

    frame: Tensor
    pixels: Tensor

    def scratch(self) -> 'FrameBuffers':
        """Allocate buffers like these."""
        return FrameBuffers(torch.zeros_like(self.frame), torch.zeros_like(self.pixels))


class FrameSize:
    """Slots, geometry and tables of normalised values for frames of one size."""

    def __init__(self, processor: ImageProcessor, shape: tuple[int, ...], pixels: Tensor,
                 geometries: dict[tuple, Geometry], recorder: Recorder) -> None:
        """Allocate memory for frames, and record the preprocessing of each slot."""
        self.uploads = UploadSlots(shape, pixels.device)
        self._geometries = geometries
        self._towers = [
            (tower.geometry, torch.from_numpy(tower.table.ravel()).to(pixels)) for tower in
            processor.towers]
        self._offsets = 256 * torch.arange(3, device=pixels.device)[:, None, None]
        self._runs = {slot: self._record(recorder, FrameBuffers(slot.frame, pixels))
                      for slot in self.uploads.slots}
        recorder.trim()

    def fill(self, slot: Slot) -> None:
        """Compute the network's input from the frame of a slot."""
        self._runs[slot]()

    def _record(self, recorder: Recorder, buffers: FrameBuffers) -> Callable[[], None]:
        try:
            return recorder.record(self._preprocess, buffers)
        except Exception:
            _logger.exception('preprocessing cannot be captured, it runs eagerly')
            return partial(self._preprocess, buffers)

    def _preprocess(self, buffers: FrameBuffers) -> None:
        resized = {key: geometry(buffers.frame).permute(2, 0, 1) + self._offsets
                   for key, geometry in self._geometries.items()}
        for index, (key, table) in enumerate(self._towers):
            buffers.pixels[0, 3 * index:3 * index + 3] = table[resized[key]]


class DevicePixels:
    """
    Preprocesses on the device of the pixels, or with Pillow where its bits are not reproduced.

    Tables and slots of a frame size are made at its first frame: cameras seldom change their size.
    """

    def __init__(self, processor: ImageProcessor, pixels: Tensor,
                 recorder: Recorder | None = None) -> None:
        """
        Start without any frame size.

        :param pixels: (1, 3·towers, S, S), written to.
        :param recorder: records the preprocessing of a frame size; by default nothing does.
        """
        self._recorder = recorder or PlainCalls()
        self._processor = processor
        self._pixels = pixels
        self._on_host = HostPixels(processor, pixels)
        self._size: FrameSize | None = None
        self._shape: tuple[int, ...] = ()

    def prefetch(self, image: np.ndarray) -> PrefetchedFrame | None:
        """Start the upload of a frame; None for the first frame of a size."""
        size = self._size
        if size is None or image.shape != size.uploads.shape:
            return None
        return size.uploads.prefetch(image)

    def __call__(self, image: np.ndarray, timings: Timings,
                 prefetched: PrefetchedFrame | None = None) -> None:
        """Preprocess a frame, uint8 (H, W, 3) RGB."""
        if image.shape != self._shape:
            self._size = self._prepare(image.shape)
            self._shape = image.shape
        if self._size is None:
            self._on_host(image, timings)
            return
        slot = self._size.uploads.acquire(image, prefetched)
        slot.wait()
        timings.finish('upload')
        self._size.fill(slot)
        slot.release()
        timings.finish('preprocess')

    def _prepare(self, shape: tuple[int, ...]) -> FrameSize | None:
        if len(shape) != 3 or shape[2] != 3:
            raise ObservationError(f'observation: an image must be (H, W, 3), got {shape}')
        geometries: dict[tuple, Geometry] = {}
        for tower in self._processor.towers:
            found = find_geometry(tower, self._processor.letterbox_fill, shape[0], shape[1],
                                  self._pixels.device)
            if found is None:
                _logger.warning('frames of %d x %d pixels are preprocessed on the host: this '
                                'version of Pillow resizes differently from the GPU', shape[1],
                                shape[0])
                return None
            geometries[tower.geometry] = found
        return FrameSize(self._processor, shape, self._pixels, geometries, self._recorder)


def choose_pixel_loader(processor: ImageProcessor, pixels: Tensor) -> PixelLoader:
    """Return the loader of a device: on a GPU its own operations, else Pillow."""
    if pixels.device.type != 'cuda':
        return HostPixels(processor, pixels)
    return DevicePixels(processor, pixels, CudaGraphs(pixels.device))
