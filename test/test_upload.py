# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Frames that are sent ahead: the right bits, whatever the camera sends meanwhile."""

import threading

import numpy as np
import pytest

from vla_ros.preprocess import ImageProcessor
from vla_ros.preprocess import TowerTransform

torch = pytest.importorskip('torch')

from vla_ros.model.pixels import DevicePixels  # noqa: E402, I100
from vla_ros.model.stages import HostClock  # noqa: E402
from vla_ros.model.upload import Uploads  # noqa: E402

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
    """Give a loader that has seen a frame of the usual size."""
    loader = DevicePixels(PROCESSOR, pixels)
    assert loader.stage(noise(0)) is None, 'the first frame of a size has to wait'
    loader(noise(0), HostClock())
    return loader


def test_a_frame_sent_ahead_is_not_read_again(load, pixels):
    frame, expected = noise(1), PROCESSOR(noise(1))
    staged = load.stage(frame)
    frame[:] = 0
    load(frame, HostClock(), staged)
    assert np.array_equal(pixels[0].numpy(), expected)


def test_a_frame_whose_place_was_taken_is_sent_again(load, pixels):
    staged = [load.stage(noise(seed)) for seed in range(1, 6)]
    for seed in (5, 1, 4, 2):
        load(noise(seed), HostClock(), staged[seed - 1])
        assert np.array_equal(pixels[0].numpy(), PROCESSOR(noise(seed))), seed


def test_a_frame_of_another_size_waits_its_turn(load, pixels):
    other = noise(2, (40, 50, 3))
    assert load.stage(other) is None
    staged = load.stage(noise(1))
    load(other, HostClock())
    assert np.array_equal(pixels[0].numpy(), PROCESSOR(other))
    # What was sent ahead in the old size is worth nothing now, even if that size comes back.
    for frame in (noise(1), other):
        load(frame, HostClock(), staged)
        assert np.array_equal(pixels[0].numpy(), PROCESSOR(frame))


def test_the_frame_that_is_answered_stays_while_a_camera_sends_others():
    uploads = Uploads((64, 64, 3), CPU)
    newest = {}
    ending = threading.Event()

    def send():
        number = 0
        while not ending.is_set():
            number += 1
            image = np.full((64, 64, 3), number % 251, np.uint8)
            newest['frame'] = (image, uploads.stage(image))

    camera = threading.Thread(target=send)
    camera.start()
    try:
        seen = set()
        while len(seen) < 100:
            if 'frame' not in newest:
                continue
            image, staged = newest['frame']
            slot = uploads.claim(image, staged)
            for _ in range(20):
                assert (slot.frame == int(image[0, 0, 0])).all()
            seen.add(int(image[0, 0, 0]))
    finally:
        ending.set()
        camera.join()
