# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
From a frame to the network's pixels, on the device that computes.

Pillow's resize is integer arithmetic: coefficients in fixed point, a pass along each axis, each
rounded to a byte. That is repeated here with integer operations of PyTorch, so a GPU gives the
very bits of Pillow, which are those that the networks were trained on.
"""

from collections.abc import Callable
from dataclasses import dataclass
import logging
import math
from typing import Protocol

import numpy as np
from PIL import Image
import torch
from torch import Tensor

from vla_ros.errors import ObservationError
from vla_ros.frame_buffers import FrameProcessor
from vla_ros.model.stages import StageClock
from vla_ros.model.upload import Staged
from vla_ros.model.upload import Uploads
from vla_ros.preprocess import ImageProcessor
from vla_ros.preprocess import TowerTransform

_LOG = logging.getLogger(__name__)

#: Bits behind the point of Pillow's coefficients (libImaging/Resample.c).
_PRECISION = 32 - 8 - 2
_BICUBIC_SUPPORT = 2.0

_COMPARED_PIXELS = 500


#: Sends a frame, uint8 (H, W, 3) RGB, to the device ahead of its turn; None if it has to wait.
Stage = Callable[[np.ndarray], Staged | None]


class PixelLoader(Protocol):
    """Fills the network's input from frames."""

    @property
    def stage(self) -> Stage | None:
        """What sends frames ahead, to be called from any thread; None where nothing is gained."""

    def __call__(self, image: np.ndarray, clock: StageClock, staged: Staged | None = None) -> None:
        """
        Preprocess a frame.

        :param image: uint8 (H, W, 3) RGB.
        :param clock: gets the stage ``preprocess``, and before it ``upload`` where there is one.
        :param staged: what :attr:`stage` gave for this frame, if it was sent ahead.
        """


class HostPixels:
    """Preprocesses with Pillow on the host, and uploads the result where that is needed."""

    #: Pillow reads the frame where it is.
    stage: Stage | None = None

    def __init__(self, processor: ImageProcessor, pixels: Tensor) -> None:
        """
        Allocate what is needed for any frame.

        :param pixels: (1, 3·towers, S, S), written to.
        """
        self._process = FrameProcessor(processor)
        self._pixels = pixels
        is_direct = pixels.device.type == 'cpu' and pixels.dtype == torch.float32
        self._staged = pixels if is_direct else torch.empty(
            pixels.shape, dtype=torch.float32, pin_memory=pixels.device.type == 'cuda')
        self._array = self._staged[0].numpy()

    def __call__(self, image: np.ndarray, clock: StageClock, staged: Staged | None = None) -> None:
        """Preprocess a frame, uint8 (H, W, 3) RGB."""
        self._process(image, self._array)
        if self._staged is not self._pixels:
            self._pixels.copy_(self._staged, non_blocking=True)
        clock.finish('preprocess')


@dataclass(frozen=True)
class Taps:
    """
    One pass of a resize: each output is a weighted sum of neighbouring inputs.

    :param rows: int64 (K, out), the input that each tap of each output reads.
    :param weights: int32 (K, out), zero where a tap is not used.
    """

    rows: Tensor
    weights: Tensor

    @classmethod
    def bicubic(cls, size: int, out: int, device: torch.device) -> 'Taps':
        """
        Repeat Pillow's ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` for a whole axis.

        Its arithmetic is that of C doubles; the order of the operations matters.
        """
        scale = size / out
        filter_scale = max(scale, 1.0)
        support = _BICUBIC_SUPPORT * filter_scale
        centers = (np.arange(out) + 0.5) * scale
        first = np.maximum((centers - support + 0.5).astype(np.int64), 0)
        count = np.minimum((centers + support + 0.5).astype(np.int64), size) - first
        rows = first + np.arange(math.ceil(support) * 2 + 1)[:, None]
        values = _bicubic((rows - centers + 0.5) * (1.0 / filter_scale))
        values[rows >= first + count] = 0.0
        total = np.zeros(out)
        for value in values:  # one after the other, as the C code adds them
            total += value
        values *= np.where(total != 0.0, 1.0 / np.where(total != 0.0, total, 1.0), 1.0)
        # Rounded away from zero at the half, as by the C code.
        halves = np.where(values < 0, -0.5, 0.5)
        weights = (halves + values * (1 << _PRECISION)).astype(np.int32)
        used = int(np.flatnonzero(weights.any(axis=1)).max()) + 1
        return cls(torch.from_numpy(np.minimum(rows, size - 1)[:used]).to(device),
                   torch.from_numpy(weights[:used]).to(device))

    def apply(self, image: Tensor, axis: int) -> Tensor:
        """Resize one axis of a uint8 (H, W, 3) image."""
        shape = [1, 1, 1]
        shape[axis] = -1
        total = None
        for rows, weights in zip(self.rows, self.weights):
            term = image.index_select(axis, rows).int() * weights.view(shape)
            # The half that makes the shift below round.
            total = term + (1 << (_PRECISION - 1)) if total is None else total.add_(term)
        assert total is not None, 'a filter has at least one tap'
        return total.bitwise_right_shift_(_PRECISION).clamp_(0, 255).byte()


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Evaluate Pillow's ``bicubic_filter``, a = -0.5."""
    a = -0.5
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


@dataclass(frozen=True)
class Resize:
    """
    A bicubic resize of uint8 (H, W, 3) images of one size.

    :param passes: an axis and its taps, in the order in which they are applied.
    """

    passes: tuple[tuple[int, Taps], ...]

    @classmethod
    def candidates(cls, height: int, width: int, out_height: int, out_width: int,
                   device: torch.device) -> list['Resize']:
        """
        Give the orders of the passes that some version of Pillow uses.

        Width first always was; Pillow 13 begins with the height where that is cheaper.
        """
        across = (1, Taps.bicubic(width, out_width, device))
        down = (0, Taps.bicubic(height, out_height, device))
        # Pillow leaves a pass out where the size stays.
        passes = [step for step, changes in ((across, width != out_width),
                                             (down, height != out_height)) if changes]
        if len(passes) < 2:
            return [cls(tuple(passes))]
        return [cls((across, down)), cls((down, across))]

    def __call__(self, image: Tensor) -> Tensor:
        """Resize an image."""
        for axis, taps in self.passes:
            image = taps.apply(image, axis)
        return image


def find_resize(height: int, width: int, out_height: int, out_width: int,
                device: torch.device) -> Resize | None:
    """
    Give a resize with the very bits of the installed Pillow for one size, None if there is none.

    Whatever a version of Pillow does, it is compared on frames of noise, not assumed.
    """
    random = np.random.default_rng(0)
    candidates = Resize.candidates(height, width, out_height, out_width, device)
    # A few pixels may come out alike in either order.
    for _ in range(1 + min(_COMPARED_PIXELS // (out_height * out_width), 32)):
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = torch.from_numpy(np.array(
            Image.fromarray(noise).resize((out_width, out_height), Image.Resampling.BICUBIC)))
        frame = torch.from_numpy(noise).to(device)
        candidates = [resize for resize in candidates
                      if torch.equal(resize(frame).cpu(), expected)]
    return candidates[0] if candidates else None


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
    """Give what shapes frames of one size for a tower with Pillow's bits; None if nothing does."""
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


class FrameSize:
    """Everything that preprocesses frames of one size on a device."""

    def __init__(self, processor: ImageProcessor, shape: tuple[int, ...], pixels: Tensor,
                 geometries: dict[tuple, Geometry]) -> None:
        """Allocate room for frames, and the tables of normalised values."""
        self.uploads = Uploads(shape, pixels.device)
        self._pixels = pixels
        self._geometries = geometries
        self._towers = [
            (tower.geometry, torch.from_numpy(tower.table.ravel()).to(pixels)) for tower in
            processor.towers]
        self._offsets = 256 * torch.arange(3, device=pixels.device)[:, None, None]

    def fill(self, frame: Tensor) -> None:
        """Fill the network's pixels from a frame on the device, uint8 (H, W, 3)."""
        shaped = {key: geometry(frame).permute(2, 0, 1) + self._offsets
                  for key, geometry in self._geometries.items()}
        for index, (key, table) in enumerate(self._towers):
            self._pixels[0, 3 * index:3 * index + 3] = table[shaped[key]]


class DevicePixels:
    """
    Preprocesses on the device of the pixels; with Pillow where its bits cannot be reproduced.

    Cameras change their size seldom: what depends on it is made at the first frame of a size.
    """

    def __init__(self, processor: ImageProcessor, pixels: Tensor) -> None:
        """
        Prepare for frames of any size.

        :param pixels: (1, 3·towers, S, S), written to.
        """
        self._processor = processor
        self._pixels = pixels
        self._on_host = HostPixels(processor, pixels)
        self._size: FrameSize | None = None
        self._shape: tuple[int, ...] = ()

    def stage(self, image: np.ndarray) -> Staged | None:
        """Send a frame ahead; None for the first frame of a size, which has to wait its turn."""
        size = self._size
        if size is None or image.shape != size.uploads.shape:
            return None
        return size.uploads.stage(image)

    def __call__(self, image: np.ndarray, clock: StageClock, staged: Staged | None = None) -> None:
        """Preprocess a frame, uint8 (H, W, 3) RGB."""
        if image.shape != self._shape:
            self._size = self._prepare(image.shape)
            self._shape = image.shape
        if self._size is None:
            self._on_host(image, clock)
            return
        slot = self._size.uploads.claim(image, staged)
        slot.receive()
        clock.finish('upload')
        self._size.fill(slot.frame)
        slot.release()
        clock.finish('preprocess')

    def _prepare(self, shape: tuple[int, ...]) -> FrameSize | None:
        if len(shape) != 3 or shape[2] != 3:
            raise ObservationError(f'observation: an image must be (H, W, 3), got {shape}')
        geometries: dict[tuple, Geometry] = {}
        for tower in self._processor.towers:
            found = find_geometry(tower, self._processor.letterbox_fill, shape[0], shape[1],
                                  self._pixels.device)
            if found is None:
                _LOG.warning('frames of %d x %d pixels are preprocessed on the host: this version '
                             'of Pillow computes something else than the GPU', shape[1], shape[0])
                return None
            geometries[tower.geometry] = found
        return FrameSize(self._processor, shape, self._pixels, geometries)


def choose_pixel_loader(processor: ImageProcessor, pixels: Tensor) -> PixelLoader:
    """Pick who preprocesses: the GPU where there is one, else Pillow."""
    loader = DevicePixels if pixels.device.type == 'cuda' else HostPixels
    return loader(processor, pixels)
