# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Upload and preprocessing on a GPU give the bits of Pillow."""

import hashlib
import threading

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from test_pixels import frame_of  # noqa: E402, I100
from test_pixels import GOLDENS  # noqa: E402
from test_pixels import processor_of  # noqa: E402
from test_upload import noise  # noqa: E402
from test_upload import PROCESSOR  # noqa: E402
from vla_ros.model.graph_capture import CudaGraphs  # noqa: E402
from vla_ros.model.pixels import DevicePixels  # noqa: E402
from vla_ros.model.timings import CudaTimings  # noqa: E402

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')]

CUDA = torch.device('cuda')
SIZES = ((90, 120, 3), (40, 50, 3), (480, 640, 3))


def test_pixels_of_golden_images_are_the_official_bits(caplog):
    for row in GOLDENS['image_processor']:
        pixels = torch.full((1, *row['pixel_values']['shape'][1:]), float('nan'), device=CUDA)
        DevicePixels(processor_of(row), pixels, CudaGraphs(CUDA))(frame_of(row), started())
        digest = hashlib.sha256(pixels.cpu().numpy().astype('<f4').tobytes()).hexdigest()
        expected = row['pixel_values']
        assert digest in (expected['sha256_f32'], expected.get('sha256_f32_pillow_13')), row
    assert not caplog.records, 'a row fell back to Pillow or could not be captured'


def test_a_frame_keeps_its_bits_while_frames_of_other_sizes_are_prefetched():
    pixels = torch.empty(1, 3, 56, 56, device=CUDA)
    load, newest, ending = DevicePixels(PROCESSOR, pixels, CudaGraphs(CUDA)), {}, threading.Event()
    expected = {}

    def send():
        number = 0
        while not ending.is_set():
            number += 1
            key = (number % 7, SIZES[number // 50 % len(SIZES)])
            image = expected[key][0]
            newest['frame'] = (key, image, load.prefetch(image))

    for seed in range(7):
        for size in SIZES:
            image = noise(seed, size)
            expected[seed, size] = image, PROCESSOR(image)
    camera = threading.Thread(target=send)
    camera.start()
    try:
        checked = 0
        while checked < 300:
            if 'frame' not in newest:
                continue
            key, image, prefetched = newest['frame']
            load(image, started(), prefetched)
            assert np.array_equal(pixels[0].cpu().numpy(), expected[key][1])
            checked += 1
    finally:
        ending.set()
        camera.join()


def started():
    timings = CudaTimings()
    timings.start()
    return timings
