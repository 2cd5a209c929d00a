# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Image and action transforms give the official values, and the wrapper applies them."""

import hashlib

from goldens import GOLDENS
from goldens import rgb
import numpy as np
import pytest

from vla_ros.data.datasets import find_dataset
from vla_ros.data.transforms import CenterCrop
from vla_ros.data.transforms import GripperBinarize
from vla_ros.data.transforms import GripperInvert
from vla_ros.data.transforms import GripperToSigned
from vla_ros.data.transforms import LiberoResize
from vla_ros.data.transforms import resize_lanczos3
from vla_ros.data.transforms import Rotate180
from vla_ros.data.transforms import transform_description
from vla_ros.errors import ImageError
from vla_ros.errors import ParameterError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.transformed import TransformedPolicy

CROPS = GOLDENS['libero_preprocessing']['center_crop_0.9_to_224']
RESIZES = GOLDENS['libero_preprocessing']['libero_jpeg_lanczos3_to_224']


def image_id(row):
    return f'{row["image"]["kind"]}-{row["image"]["width"]}x{row["image"]["height"]}'


@pytest.mark.parametrize('row', CROPS, ids=image_id)
def test_center_crop_equals_the_official_one_bit_for_bit(row):
    out = CenterCrop()(rgb(row['image']))
    assert list(out.shape) == row['output']['shape']
    assert hashlib.sha256(out.tobytes()).hexdigest() == row['output']['sha256']


@pytest.mark.parametrize('row', RESIZES, ids=image_id)
def test_lanczos_resizing_equals_the_official_one_up_to_ties(row):
    expected = row['output_without_jpeg_roundtrip']
    out = resize_lanczos3(rgb(row['image']), 224)
    assert out.ravel()[expected['at']].tolist() == expected['values']
    # Of exact halves in the gradient, TensorFlow rounds 1.6 % of all values to the other side.
    assert abs(int(out.sum(dtype=int)) - expected['sum']) <= 0.02 * out.size


@pytest.mark.parametrize('row', RESIZES, ids=image_id)
def test_libero_resize_differs_from_the_official_one_only_by_the_jpeg_decoder(row):
    out = LiberoResize()(rgb(row['image']))
    difference = out.ravel()[row['output']['at']].astype(int) - row['output']['values']
    assert np.abs(difference).max() <= 5
    # TensorFlow's fast inverse DCT is 0.8 grey levels darker on average.
    assert 0.7 < (int(out.sum(dtype=int)) - row['output']['sum']) / out.size < 0.9


def test_rotation_by_180_degrees_is_a_view():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    turned = Rotate180()(image)
    assert turned[0, 0].tolist() == image[1, 3].tolist()
    assert np.shares_memory(turned, image)


@pytest.mark.parametrize('row', GOLDENS['gripper'], ids=lambda row: str(row['in']))
def test_gripper_transforms_equal_the_official_ones(row):
    value = GripperToSigned()(np.float64(row['in']))
    assert value == row['normalized']
    value = GripperBinarize()(value)
    assert value == row['binarized']
    assert GripperInvert()(value) == row['inverted']


def test_the_description_of_a_dataset_follows_its_gripper_transforms():
    libero = find_dataset('libero_goal')
    (after,) = transform_description(libero, libero.action_transforms).grippers
    assert (after.open, after.closed) == (-1.0, 1.0)
    assert transform_description(libero, ()) == libero


class Echo:
    """Predicts the same chunk for every observation, and keeps the observation."""

    spec = None

    def infer(self, observation):
        self.seen = observation
        actions = np.tile(np.linspace(0.1, 0.7, 7), (2, 1))
        return ActionChunk(actions, actions, (), (), np.empty(0), '', (), {})

    def reset(self):
        self.was_reset = True


def test_the_wrapper_transforms_images_and_grippers_and_forwards_reset():
    echo = Echo()
    policy = TransformedPolicy(echo, ['rotate_180', 'center_crop'], ['gripper_to_signed'])
    image = rgb(CROPS[0]['image'])
    chunk = policy.infer(Observation((image, image), 'stop'))
    assert all(np.array_equal(seen, CenterCrop()(image[::-1, ::-1])) for seen in echo.seen.images)
    np.testing.assert_allclose(chunk.actions[:, 6], 0.4)
    assert np.array_equal(chunk.actions[:, :6], chunk.normalized[:, :6])
    policy.reset()
    assert echo.was_reset


def test_several_grippers_are_transformed_in_place():
    chunk = TransformedPolicy(Echo(), (), ['gripper_to_signed'], [2, 6]).infer(
        Observation((), 'stop'))
    np.testing.assert_allclose(chunk.actions[0, [2, 6]], [-0.4, 0.4])
    np.testing.assert_allclose(chunk.actions[0, [0, 5]], [0.1, 0.6])


def test_an_image_without_pixels_is_named():
    with pytest.raises(ImageError, match='no pixels'):
        TransformedPolicy(Echo(), ['center_crop']).infer(
            Observation((np.empty((0, 4, 3), np.uint8),), 'stop'))


def test_invalid_transforms_are_refused_before_loading():
    with pytest.raises(ParameterError, match='rotate_180, center_crop, libero_resize'):
        PolicyConfig('x', image_transforms=('flip',))
    with pytest.raises(ParameterError, match='without repetitions'):
        PolicyConfig('x', action_transforms=('gripper_invert', 'gripper_invert'))
    with pytest.raises(ParameterError, match='area'):
        CenterCrop(1.5)


@pytest.mark.parametrize('size', [(1, 1), (224, 224), (3, 500)])
def test_any_size_can_be_cropped_and_resized(size):
    image = np.full((*size, 3), 200, np.uint8)
    assert (CenterCrop()(image) == 200).all()
    assert (resize_lanczos3(image, 224) == 200).all()
