# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
What the official evaluations do around the model, one small class each; off unless asked for.

Some checkpoints need them: a model trained on LIBERO saw its images upside down, one trained with
random crops expects the middle of the image. docs/transforms.md says which and why.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import lru_cache
import io

import numpy as np
from PIL import Image

from vla_ros.data.datasets import DatasetDescription
from vla_ros.errors import ParameterError

#: uint8 (H, W, 3) to uint8 (H, W, 3); never writes to its input.
ImageTransform = Callable[[np.ndarray], np.ndarray]
#: float64 (…,) values of a gripper to the same shape.
GripperTransform = Callable[[np.ndarray], np.ndarray]

# Side of every image in the official pipelines (OPENVLA_IMAGE_SIZE).
_SIDE = 224


@dataclass(frozen=True)
class Rotate180:
    """Turn an image upside down: LIBERO renders it so, and its training data was turned back."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return a view, (H, W, 3)."""
        return image[::-1, ::-1]


@dataclass(frozen=True)
class CenterCrop:
    """
    Keep the middle of an image and bring it to 224×224, for models trained with random crops.

    Bit for bit ``tf.image.crop_and_resize`` as the official code calls it: positions reach from
    the first pixel's center to the last one's, all in float32.

    :param area: share of the image's area that is kept.
    """

    area: float = 0.9

    def __post_init__(self) -> None:
        """Reject what is no share."""
        if not 0.0 < self.area <= 1.0:
            raise ParameterError('center_crop area', self.area, 'above 0 and at most 1')

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return uint8 (224, 224, 3)."""
        height, width = image.shape[:2]
        top, bottom, down = self._positions(height)
        left, right, along = self._positions(width)
        levels = image.astype(np.float32) * np.float32(1.0 / 255.0)
        rows = [levels[rows_of] for rows_of in (top, bottom)]
        upper, lower = (
            row[:, left] + (row[:, right] - row[:, left]) * along[:, None] for row in rows)
        mixed = upper + (lower - upper) * down[:, None, None]
        # saturate_cast of TensorFlow's convert_image_dtype
        scaled = np.clip(mixed, 0.0, 1.0) * np.float32(255.5)
        return np.minimum(scaled, np.float32(255.0)).astype(np.uint8)

    def _positions(self, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neighbours of each output pixel, int64 (224,), and the way from one to the other."""
        side = np.sqrt(np.float32(self.area))
        start = (np.float32(1.0) - side) / np.float32(2.0)
        step = (start + side - start) * np.float32(size - 1) / np.float32(_SIDE - 1)
        at = start * np.float32(size - 1) + np.arange(_SIDE, dtype=np.float32) * step
        before = np.floor(at)
        after = np.minimum(np.ceil(at), size - 1)
        return before.astype(np.int64), after.astype(np.int64), at - before


@dataclass(frozen=True)
class LiberoResize:
    """
    Compress to JPEG and back, then resize to 224×224 with a Lanczos kernel of radius 3.

    The training data went through both. The resize is TensorFlow's; the JPEG is libjpeg's at
    quality 95 as Pillow does it, whose rounding differs from TensorFlow's (docs/transforms.md).
    """

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return uint8 (224, 224, 3)."""
        return resize_lanczos3(jpeg_roundtrip(image), _SIDE)


def jpeg_roundtrip(image: np.ndarray) -> np.ndarray:
    """Compress at quality 95 with halved colour resolution and decompress, uint8 (H, W, 3)."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, 'JPEG', quality=95,
                                                      subsampling='4:2:0')
    return np.asarray(Image.open(stream))


def resize_lanczos3(image: np.ndarray, side: int) -> np.ndarray:
    """
    Resize as ``tf.image.resize(…, 'lanczos3', antialias=True)``, rounded to uint8.

    Pillow's LANCZOS rounds between its two passes and is up to 35 grey levels away.
    """
    rows, columns = _lanczos3(image.shape[0], side), _lanczos3(image.shape[1], side)
    mixed = np.einsum('yh,hwc->ywc', rows, image.astype(np.float32), optimize=True)
    mixed = np.einsum('xw,ywc->yxc', columns, mixed, optimize=True)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _lanczos3(size: int, side: int) -> np.ndarray:
    """Weight of each of ``size`` inputs in each of ``side`` outputs, float32 (side, size)."""
    stride = size / side
    stretch = max(stride, 1.0)
    center = (np.arange(side) + 0.5) * stride
    distance = np.abs(np.arange(size) + 0.5 - center[:, None]) / stretch
    weights = np.where(distance < 3.0, np.sinc(distance) * np.sinc(distance / 3.0), 0.0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class GripperToSigned:
    """Map a gripper of 0 to 1 to -1 to 1."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Scale, any shape."""
        return 2.0 * values - 1.0


@dataclass(frozen=True)
class GripperBinarize:
    """Make a signed gripper fully open or fully closed; 0 stays 0, as officially."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the sign, any shape."""
        return np.sign(values)


@dataclass(frozen=True)
class GripperInvert:
    """Change a signed gripper's sign: OpenVLA opens with +1, LIBERO's simulator closes."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Negate, any shape."""
        return values * -1.0


IMAGE_TRANSFORMS: dict[str, ImageTransform] = {
    'rotate_180': Rotate180(), 'center_crop': CenterCrop(), 'libero_resize': LiberoResize()}
GRIPPER_TRANSFORMS: dict[str, GripperTransform] = {
    'gripper_to_signed': GripperToSigned(), 'gripper_binarize': GripperBinarize(),
    'gripper_invert': GripperInvert()}


def check_names(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    """
    Reject unknown transforms and repeated ones.

    :raises ParameterError: a name is not known or stands twice.
    """
    for name in names:
        if name not in known:
            raise ParameterError(what, name, f'one of {", ".join(known)}')
    if len(set(names)) != len(names):
        raise ParameterError(what, list(names), 'a list without repetitions')


def transform_grippers(names: Sequence[str], values: np.ndarray) -> np.ndarray:
    """Apply gripper transforms, in the order of their names, to float64 values of any shape."""
    for name in names:
        values = GRIPPER_TRANSFORMS[name](values)
    return values


def transform_description(description: DatasetDescription,
                          names: Sequence[str]) -> DatasetDescription:
    """
    Return what a dataset's grippers mean after the action transforms.

    :raises ParameterError: opening and closing would be the same value.
    """
    if not names or description.grippers is None:
        return description
    grippers = tuple(
        replace(gripper, open=float(transform_grippers(names, np.float64(gripper.open))),
                closed=float(transform_grippers(names, np.float64(gripper.closed))))
        for gripper in description.grippers)
    return replace(description, grippers=grippers)
