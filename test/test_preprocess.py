# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

from goldens import assert_sample
from goldens import CASES
from goldens import float32_digest
from goldens import GOLDENS
from goldens import rgb
from goldens import SPEC
import numpy as np
import pytest

from vla_ros.data.preprocess import ImageProcessor
from vla_ros.data.preprocess import PreprocessorError

ROWS = GOLDENS['image_processor']


def row_config(row):
    """Build the preprocessor_config.json that a golden row was computed with."""
    side = row['side']
    towers = range(len(row['means']))
    whole = row['strategy'] == 'resize-naive'
    return {
        'image_resize_strategy': row['strategy'],
        'tvf_resize_params': [{'size': [side, side] if whole else side, 'interpolation': 3}
                              for _ in towers],
        'tvf_crop_params': [{'output_size': [side, side]} for _ in towers],
        'tvf_normalize_params': [{'mean': mean, 'std': std}
                                 for mean, std in zip(row['means'], row['stds'])],
        'tvf_do_letterbox': row['strategy'] == 'letterbox',
        'tvf_letterbox_fill': row['letterbox_fill'],
    }


def digests(sample):
    return {value for key, value in sample.items() if key.startswith('sha256_f32')}


@pytest.mark.parametrize('row', ROWS, ids=lambda row: f'{row["strategy"]}-{row["side"]}-'
                         f'{row["image"]["width"]}x{row["image"]["height"]}')
def test_pixels_are_bit_equal_to_the_official_processor(row):
    pixels = ImageProcessor.from_config(row_config(row))(rgb(row['image']))[None]
    assert_sample(pixels, row['pixel_values'], atol=1e-5)
    assert float32_digest(pixels) in digests(row['pixel_values'])


@pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])
def test_stored_transforms_take_precedence_over_means_and_stds(case):
    """The published checkpoints store means that are rounded to bfloat16."""
    pixels = ImageProcessor.from_config(SPEC['preprocessor'])(rgb(case['image']))[None]
    assert float32_digest(pixels) in digests(case['pixel_values'])


@pytest.mark.parametrize('row', ROWS[::8], ids=lambda row: row['strategy'])
def test_transforms_are_computed_where_none_are_stored(row):
    side = row['side']
    config = {'image_resize_strategy': row['strategy'],
              'input_sizes': [[3, side, side]] * len(row['means']),
              'means': row['means'], 'stds': row['stds']}
    pixels = ImageProcessor.from_config(config)(rgb(row['image']))[None]
    assert float32_digest(pixels) in digests(row['pixel_values'])


def test_letterbox_border_is_filled_with_the_last_towers_mean():
    config = {'image_resize_strategy': 'letterbox', 'input_sizes': [[3, 8, 8]] * 2,
              'means': [[0.0, 0.0, 0.0], [0.25, 0.5, 1.0]], 'stds': [[1.0, 1.0, 1.0]] * 2}
    pixels = ImageProcessor.from_config(config)(np.zeros((2, 8, 3), np.uint8))
    np.testing.assert_allclose(pixels[:3, 0, 0] * 255, [63, 127, 255], atol=1e-4)


@pytest.mark.parametrize('change', [
    {'image_resize_strategy': 'stretch'},
    {'tvf_resize_params': [{'interpolation': 3}] * 2},
    {'tvf_crop_params': [{'output_size': [56, 56]}]},
    {'tvf_normalize_params': 'none'},
], ids=lambda change: next(iter(change)))
def test_an_invalid_preprocessor_config_is_named(change):
    with pytest.raises(PreprocessorError, match='preprocessor_config.json'):
        ImageProcessor.from_config({**SPEC['preprocessor'], **change})
