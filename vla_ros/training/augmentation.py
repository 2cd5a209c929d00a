# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The image augmentation of OpenVLA's fine-tuning.

Source: ``image_aug`` in ``prismatic/vla/datasets/datasets.py`` of openvla/openvla: a random crop
of 0.9 of the area, then brightness, contrast, saturation and hue. A model that was trained with it
runs with the transform ``center_crop``.
"""

from matplotlib.colors import hsv_to_rgb
from matplotlib.colors import rgb_to_hsv
import numpy as np
from PIL import Image

_AREA = 0.9
_BRIGHTNESS = 0.2
_CONTRAST = (0.8, 1.2)
_SATURATION = (0.8, 1.2)
_HUE = 0.05


def augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Crop an image and change its colours at random.

    :param image: uint8 (H, W, 3), RGB.
    :returns: uint8 (H, W, 3), RGB; a function of the image and the generator's state.
    """
    height, width = image.shape[:2]
    side = _AREA ** 0.5
    left = rng.uniform(0, width * (1 - side))
    top = rng.uniform(0, height * (1 - side))
    cropped = Image.fromarray(image).resize(
        (width, height), Image.Resampling.BILINEAR,
        (left, top, left + width * side, top + height * side))
    x = np.asarray(cropped, np.float32) / 255
    x = x + rng.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    mean = x.mean((0, 1))
    x = ((x - mean) * rng.uniform(*_CONTRAST) + mean).clip(0, 1)
    hsv = rgb_to_hsv(x)
    hsv[..., 1] = (hsv[..., 1] * rng.uniform(*_SATURATION)).clip(0, 1)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-_HUE, _HUE)) % 1
    return np.rint(255 * hsv_to_rgb(hsv)).astype(np.uint8)
