# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Key files: the inputs of openpi's policies and the format of their actions."""

import numpy as np
import pytest

from vla_ros.data.datasets import find_dataset
from vla_ros.errors import ObservationError
from vla_ros.policy.base import Observation
from vla_ros.policy.keys_file import KeysError
from vla_ros.policy.keys_file import load_keys
from vla_ros.policy.observation_keys import ActionsError
from vla_ros.policy.observation_keys import resize_with_pad

IMAGE = np.arange(480 * 640 * 3, dtype=np.uint32).reshape(480, 640, 3).astype(np.uint8)


def test_pi05_droid_gets_the_keys_of_its_official_example():
    keys = load_keys('pi05_droid')
    state = np.arange(8.0)
    packed = keys.pack(Observation((IMAGE, IMAGE[:224, :224]), 'fold', state))
    assert sorted(packed) == ['observation/exterior_image_1_left', 'observation/gripper_position',
                              'observation/joint_position', 'observation/wrist_image_left',
                              'prompt']
    assert packed['observation/exterior_image_1_left'].shape == (224, 224, 3)
    assert packed['observation/wrist_image_left'] is not None
    assert packed['observation/joint_position'].tolist() == list(range(7))
    assert packed['observation/gripper_position'].tolist() == [7.0] and packed['prompt'] == 'fold'
    sent = np.full((15, 8), 0.5, np.float32)
    sent[0] = 3.0
    sent[1, 7] = 0.51
    actions = keys.read_actions({'actions': sent})
    # Clipped as the official client does; 1 is 0.2 rad.
    assert actions[0].tolist() == pytest.approx([0.2] * 7 + [1.0])
    assert actions[1].tolist() == pytest.approx([0.1] * 7 + [1.0])
    assert actions[2].tolist() == pytest.approx([0.1] * 7 + [0.0])
    dataset = find_dataset(keys.dataset).require_motion()
    assert (dataset.space, dataset.period_s) == ('joint_delta', pytest.approx(1 / 15))


def test_pi05_aloha_gets_the_keys_of_its_official_example():
    keys = load_keys('pi05_aloha')
    packed = keys.pack(Observation((IMAGE,) * 3, 'fold', np.zeros(14)))
    assert sorted(packed) == ['images', 'prompt', 'state']
    assert {name: image.shape for name, image in packed['images'].items()} == dict.fromkeys(
        ('cam_high', 'cam_left_wrist', 'cam_right_wrist'), (3, 224, 224))
    assert packed['state'].shape == (14,)
    assert keys.read_actions({'actions': np.full((50, 14), 2.0)}).max() == 2.0
    find_dataset(keys.dataset).require_motion()


@pytest.mark.parametrize('name', ['pi05_droid', 'pi05_aloha', 'libero'])
def test_unpacking_a_packed_observation_restores_it(name):
    keys = load_keys(name)
    images = tuple(IMAGE[:224, start:start + 224] for start in range(len(keys.images)))
    before = Observation(images, 'fold', np.arange(float(keys.state_length)))
    after = keys.unpack(keys.pack(before), len(images), keys.state_length)
    assert all(map(np.array_equal, before.images, after.images))
    assert np.array_equal(before.proprio, after.proprio) and after.instruction == 'fold'
    assert keys.unpack(keys.pack(before), 1, 0).proprio is None


@pytest.mark.parametrize('shape', [(480, 640), (640, 480), (224, 224), (1080, 1920), (31, 17)])
def test_images_are_resized_with_padding_as_in_openpi(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    padded = resize_with_pad(image, 224, 224)
    ratio = max(shape) / 224
    rows, columns = int(shape[0] / ratio), int(shape[1] / ratio)
    top, left = int((224 - rows) / 2), int((224 - columns) / 2)
    expected = np.zeros((224, 224, 3), np.uint8)
    expected[top:top + rows, left:left + columns] = 200
    assert np.array_equal(padded, expected)


@pytest.mark.parametrize(('change', 'problem'), [
    ({'actions': None}, 'actions: got None'), ({'actions': np.zeros((15, 7))}, r'shape \(15, 7\)'),
    ({'actions': np.zeros((100_000, 8))}, r'shape \(100000, 8\)'),
    ({'actions': np.zeros(8)}, 'got shape'), ({'actions': np.zeros((15, 8), int)}, 'got int64'),
    ({'actions': [[0.0] * 8] * 15}, 'must be an array'), ({}, 'it is missing'),
    ({'actions': np.full((15, 8), np.nan)}, 'not finite'),
    ({'actions': np.full((15, 8), np.inf)}, 'not finite')])
def test_actions_of_another_format_are_refused(change, problem):
    with pytest.raises(ActionsError, match=problem):
        load_keys('pi05_droid').read_actions(change)
    with pytest.raises(ActionsError, match='it is missing'):
        load_keys('pi05_droid').read_actions([change])


@pytest.mark.parametrize(('change', 'problem'), [
    ({'observation/image': None}, 'observation/image: got None'),
    ({'observation/image': IMAGE.astype(np.float32)}, 'got float32'),
    ({'observation/image': IMAGE.transpose(2, 0, 1)}, 'height, width, 3'),
    ({'observation/image': IMAGE[:0]}, 'got uint8'), ({'prompt': 3}, 'prompt: got 3'),
    ({'observation/state': np.zeros(7)}, 'must be 8 finite numbers'),
    ({'observation/state': np.full(8, np.nan)}, 'must be 8 finite numbers'),
    ({'observation/state': {'x': 1}}, 'must be 8 finite numbers')])
def test_an_invalid_entry_of_an_observation_is_named(change, problem):
    keys = load_keys('libero')
    whole = keys.pack(Observation((IMAGE, IMAGE), 'fold', np.zeros(8)))
    with pytest.raises(ObservationError, match=problem):
        keys.unpack({**whole, **change}, 2, 8)
    del whole[next(iter(change))]
    with pytest.raises(ObservationError, match='it is missing'):
        keys.unpack(whole, 2, 8)


def test_an_observation_with_other_cameras_or_another_state_is_refused():
    keys = load_keys('pi05_droid')
    with pytest.raises(ObservationError, match='1 images'):
        keys.pack(Observation((IMAGE,), 'fold', np.zeros(8)))
    for state in (None, np.zeros(7)):
        with pytest.raises(ObservationError, match='8 numbers'):
            keys.pack(Observation((IMAGE, IMAGE), 'fold', state))


BASE = 'images: [a]\nprompt: p\nactions: {key: x, steps: 2, dimensions: 3}\n'


@pytest.mark.parametrize(('text', 'problem'), [
    ('[', 'not YAML'), ('3', 'the file: got 3'), ('images: [a]', 'actions, prompt is missing'),
    (BASE + 'image: x', "unknown entry 'image'"), (BASE + 'image_layout: bgr', 'hwc, chw'),
    (BASE + 'image_size: [224]', 'height, width'), (BASE + 'image_size: [0, 1]', 'from 1 to'),
    (BASE + 'state: {key: s}', 'a list of key and length'), (BASE + 'state: [{key: s}]', 'length'),
    (BASE + 'state: [{key: s, length: 0}]', 'from 1 to'), (BASE + 'dataset: [x]', 'dataset: got'),
    (BASE.replace('[a]', 'a'), 'a list of keys'), (BASE.replace('[a]', '[]'), 'a list of keys'),
    (BASE.replace('[a]', '[[]]'), 'a key, or a list'), (BASE.replace('[a]', '[3]'), 'a key, or a'),
    (BASE.replace('steps: 2', 'steps: 2.0'), 'actions.steps: got 2.0'),
    (BASE.replace('steps: 2, ', ''), 'actions.steps: got None'),
    (BASE.replace('x, ', 'x, clip: [1, 0], '), 'the first must be below'),
    (BASE.replace('x, ', 'x, clip: [.nan, 0], '), '2 finite numbers'),
    (BASE.replace('x, ', 'x, binarize: [3], '), 'a list of dimensions'),
    (BASE.replace('x, ', 'x, binarize: 1, '), 'a list of dimensions'),
    (BASE.replace('x, ', 'x, scale: [1, 2], '), '3 finite numbers')])
def test_an_invalid_key_file_is_named(text, problem, tmp_path):
    path = tmp_path / 'keys.yaml'
    path.write_text(text)
    with pytest.raises(KeysError, match=problem) as raised:
        load_keys(path)
    assert str(path) in str(raised.value)


def test_an_unknown_key_file_of_the_package_is_named():
    with pytest.raises(KeysError, match='pi06.*is missing'):
        load_keys('pi06')
