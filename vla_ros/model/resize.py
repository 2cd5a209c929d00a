# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Pillow's bicubic resize in integer operations of PyTorch, bit for bit, on any device.

Pillow resizes in fixed point: coefficients of 22 bits, one pass along each axis, each rounded to a
byte. Integer operations give the same bits on a GPU.
"""

from dataclasses import dataclass
import math

import numpy as np
from PIL import Image
import torch
from torch import Tensor

#: Bits behind the point of Pillow's coefficients (libImaging/Resample.c).
_PRECISION = 32 - 8 - 2
_BICUBIC_SUPPORT = 2.0

_COMPARED_PIXELS = 500


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
        Compute what Pillow's ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` do for an axis.

        The arithmetic is that of C doubles; the order of the operations matters.
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
        Return a resize for each order of the axes that some version of Pillow uses.

        Until Pillow 13 the width comes first; Pillow 13 begins with the cheaper axis.
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
    Return a resize that is bit-equal to the installed Pillow for one size, None if there is none.

    Each candidate is compared with Pillow on frames of noise.
    """
    random = np.random.default_rng(0)
    candidates = Resize.candidates(height, width, out_height, out_width, device)
    # A few output pixels may be equal in either order, so small outputs are compared often.
    for _ in range(1 + min(_COMPARED_PIXELS // (out_height * out_width), 32)):
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = torch.from_numpy(np.array(
            Image.fromarray(noise).resize((out_width, out_height), Image.Resampling.BICUBIC)))
        frame = torch.from_numpy(noise).to(device)
        candidates = [resize for resize in candidates
                      if torch.equal(resize(frame).cpu(), expected)]
    return candidates[0] if candidates else None
