# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Preprocessing in reused memory and on the device gives the bits of the official processor."""

import hashlib
import json
from pathlib import Path
import tracemalloc

from golden_images import make_image
import numpy as np
from PIL import Image
import pytest

from vla_ros.data.frame_buffers import FrameProcessor
from vla_ros.data.preprocess import ImageProcessor
from vla_ros.data.preprocess import TowerTransform

torch = pytest.importorskip('torch')

from vla_ros.model import resize as resize_module  # noqa: E402, I100
from vla_ros.model.pixels import DevicePixels  # noqa: E402
from vla_ros.model.pixels import HostPixels  # noqa: E402
from vla_ros.model.resize import find_resize  # noqa: E402
from vla_ros.model.timings import HostTimings  # noqa: E402

# Small tensors: threads would only wait for each other.
torch.set_num_threads(1)

GOLDENS = json.loads((Path(__file__).parent / 'golden/goldens_public.json').read_text('utf-8'))
CPU = torch.device('cpu')
HALF = (0.5, 0.5, 0.5)


def processor_of(row):
    """Build the processor of a golden row as the official constructor does."""
    side, count = row['side'], 2 if row['fused'] else 1
    return ImageProcessor.from_config({
        'image_resize_strategy': row['strategy'], 'input_sizes': [(3, side, side)] * count,
        'means': row['means'][:count], 'stds': row['stds'][:count],
        'tvf_letterbox_fill': row['letterbox_fill']})


def frame_of(row):
    """Draw the image of a golden row as RGB."""
    image = make_image(row['image'])
    return np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image[..., :3]


@pytest.mark.parametrize('loader', [HostPixels, DevicePixels])
def test_pixels_of_golden_images_are_the_official_bits(loader, caplog):
    for row in GOLDENS['image_processor']:
        pixels = torch.full((1, *row['pixel_values']['shape'][1:]), float('nan'))
        loader(processor_of(row), pixels)(frame_of(row), HostTimings())
        digest = hashlib.sha256(pixels.numpy().astype('<f4').tobytes()).hexdigest()
        expected = row['pixel_values']
        assert digest in (expected['sha256_f32'], expected.get('sha256_f32_pillow_13')), row
    assert not caplog.records, 'a row fell back to Pillow'


def test_a_thousand_sizes_are_resized_to_the_bits_of_pillow():
    random = np.random.default_rng(7)
    for number in range(1000):
        height, width, out_height, out_width = (
            int(side) for side in np.exp(random.uniform(np.log(3), np.log(100), 4)).astype(int))
        resize = find_resize(height, width, out_height, out_width, CPU)
        assert resize is not None, (height, width, out_height, out_width)
        frame = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        # Extreme values overshoot, so that clipping is tested.
        frame[random.random((height, width)) < 0.3] = 255 * (number % 2)
        expected = Image.fromarray(frame).resize((out_width, out_height),
                                                 Image.Resampling.BICUBIC)
        assert np.array_equal(resize(torch.from_numpy(frame)).numpy(), np.asarray(expected))


@pytest.mark.parametrize('size', [(480, 640), (720, 1280), (1280, 720), (37, 211)])
@pytest.mark.parametrize('resize', [(224, 224), 224])
@pytest.mark.parametrize('fill', [None, (127, 0, 255)])
def test_pixels_of_camera_sizes_equal_those_of_the_processor(size, resize, fill):
    processor = ImageProcessor(
        (TowerTransform(resize, (224, 224), 3, (0.48, 0.45, 0.4), (0.22, 0.23, 0.24)),
         TowerTransform(resize, (224, 224), 3, HALF, HALF)), fill)
    frame = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = processor(frame)
    for loader in (HostPixels, DevicePixels):
        pixels = torch.full((1, 6, 224, 224), float('nan'))
        load = loader(processor, pixels)
        for view in (frame, frame.copy()[:, :, ::-1][:, :, ::-1]):
            pixels.fill_(float('nan'))
            load(view, HostTimings())
            assert np.array_equal(pixels[0].numpy(), expected)
        load(frame[::2], HostTimings())
        assert np.array_equal(pixels[0].numpy(), processor(frame[::2])), 'a frame of another size'


def test_bfloat16_pixels_are_rounded_float32_pixels():
    processor = ImageProcessor((TowerTransform((56, 56), (56, 56), 3, HALF, (0.2, 0.2, 0.2)),))
    frame = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    expected = torch.from_numpy(processor(frame)).bfloat16()
    for loader in (HostPixels, DevicePixels):
        pixels = torch.empty(1, 3, 56, 56, dtype=torch.bfloat16)
        loader(processor, pixels)(frame, HostTimings())
        assert torch.equal(pixels[0], expected)


@pytest.mark.parametrize('reason', ['other filter', 'other bits'])
def test_unsupported_resizes_are_left_to_pillow(monkeypatch, caplog, reason):
    interpolation = 3
    if reason == 'other filter':
        interpolation = int(Image.Resampling.LANCZOS)
    else:
        monkeypatch.setattr(resize_module, '_PRECISION', 12)
    processor = ImageProcessor((TowerTransform((56, 56), (56, 56), interpolation, HALF, HALF),))
    frame = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    pixels = torch.empty(1, 3, 56, 56)
    DevicePixels(processor, pixels)(frame, HostTimings())
    assert np.array_equal(pixels[0].numpy(), processor(frame))
    assert 'preprocessed on the host' in caplog.text


def test_preprocessing_a_frame_allocates_no_array():
    processor = ImageProcessor((TowerTransform((224, 224), (224, 224), 3, HALF, HALF),))
    process, out = FrameProcessor(processor), np.empty((3, 224, 224), np.float32)
    message = np.random.default_rng(3).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    views = (message, message[:, :, ::-1])
    for view in views:
        process(view, out)
        process(view, out)
    tracemalloc.start()
    try:
        for view in views:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            process(view, out)
            # Small objects of Pillow and numpy; a frame has 900 kB, the result 600.
            assert tracemalloc.get_traced_memory()[1] - before < 4096
    finally:
        tracemalloc.stop()
