# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Prefetched frames keep their bits while the camera sends others."""

import threading

import numpy as np
import pytest

from vla_ros.data.preprocess import ImageProcessor
from vla_ros.data.preprocess import TowerTransform

torch = pytest.importorskip('torch')

from vla_ros.model.pixels import DevicePixels  # noqa: E402, I100
from vla_ros.model.timings import HostTimings  # noqa: E402
from vla_ros.model.upload import UploadSlots  # noqa: E402

HALF = (0.5, 0.5, 0.5)
PROCESSOR = ImageProcessor((TowerTransform((56, 56), (56, 56), 3, HALF, HALF),))
SHAPE = (90, 120, 3)
CPU = torch.device('cpu')


def noise(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def pixels():
    return torch.empty(1, 3, 56, 56)


@pytest.fixture
def load(pixels):
    """Return a loader that has loaded a frame of the usual size."""
    loader = DevicePixels(PROCESSOR, pixels)
    assert loader.prefetch(noise(0)) is None, 'the first frame of a size is not prefetched'
    loader(noise(0), HostTimings())
    return loader


def test_a_prefetched_frame_is_not_read_again(load, pixels):
    frame, expected = noise(1), PROCESSOR(noise(1))
    prefetched = load.prefetch(frame)
    frame[:] = 0
    load(frame, HostTimings(), prefetched)
    assert np.array_equal(pixels[0].numpy(), expected)


def test_a_frame_whose_slot_was_reused_is_uploaded_again(load, pixels):
    prefetched = [load.prefetch(noise(seed)) for seed in range(1, 6)]
    for seed in (5, 1, 4, 2):
        load(noise(seed), HostTimings(), prefetched[seed - 1])
        assert np.array_equal(pixels[0].numpy(), PROCESSOR(noise(seed))), seed


def test_a_frame_of_another_size_is_uploaded_during_its_inference(load, pixels):
    other = noise(2, (40, 50, 3))
    assert load.prefetch(other) is None
    prefetched = load.prefetch(noise(1))
    load(other, HostTimings())
    assert np.array_equal(pixels[0].numpy(), PROCESSOR(other))
    # A frame prefetched in the old size is stale, even if that size comes back.
    for frame in (noise(1), other):
        load(frame, HostTimings(), prefetched)
        assert np.array_equal(pixels[0].numpy(), PROCESSOR(frame))


def test_the_slot_of_a_frame_in_inference_is_not_overwritten():
    uploads = UploadSlots((64, 64, 3), CPU)
    newest = {}
    ending = threading.Event()

    def send():
        number = 0
        while not ending.is_set():
            number += 1
            image = np.full((64, 64, 3), number % 251, np.uint8)
            newest['frame'] = (image, uploads.prefetch(image))

    camera = threading.Thread(target=send)
    camera.start()
    try:
        seen = set()
        while len(seen) < 100:
            if 'frame' not in newest:
                continue
            image, prefetched = newest['frame']
            slot = uploads.acquire(image, prefetched)
            for _ in range(20):
                assert (slot.frame == int(image[0, 0, 0])).all()
            seen.add(int(image[0, 0, 0]))
    finally:
        ending.set()
        camera.join()
