# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Reference outputs of the official code, and how to compare with them; see golden/."""

import hashlib
import json
from pathlib import Path

from golden_images import make_image
import numpy as np

FOLDER = Path(__file__).parent / 'golden'
GOLDENS = json.loads((FOLDER / 'goldens_public.json').read_text(encoding='utf-8'))
SPEC = json.loads((FOLDER / 'spec_public.json').read_text(encoding='utf-8'))
CASES = GOLDENS['cases']


def rgb(spec):
    """Draw a golden image as uint8 (H, W, 3), as Pillow's ``convert('RGB')`` would give it."""
    image = make_image(spec)
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]


def assert_sample(array, sample, atol):
    """Compare an array with stored values and sums of the reference."""
    array = np.asarray(array)
    assert list(array.shape) == sample['shape']
    np.testing.assert_allclose(array.ravel()[sample['at']], sample['values'], rtol=0, atol=atol)
    assert abs(array.sum(dtype=np.float64) - sample['sum']) <= atol * array.size


def float32_digest(array):
    """Return the digest of the bits of an array."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype='<f4').tobytes()).hexdigest()
