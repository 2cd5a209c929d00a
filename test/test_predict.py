# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

import json
import os
import shutil
import subprocess
import sys

from goldens import CASES
from goldens import rgb
import numpy as np
from PIL import Image
import pytest

from vla_ros.cli.predict import main

pytest.importorskip('torch')


def arguments(checkpoint, case, image):
    return ['--checkpoint', str(checkpoint), '--image', str(image), '--unnorm-key',
            case['unnorm_key'], '--instruction', case['instruction'], '--prompt',
            case['template'], '--device', 'cpu']


@pytest.fixture
def cup(tmp_path):
    image = tmp_path / 'cup.png'
    Image.fromarray(rgb(CASES[0]['image'])).save(image)
    return image


@pytest.mark.parametrize('case', CASES[:9], ids=lambda case: case['name'])
def test_json_holds_the_official_prediction(golden_checkpoints, case, tmp_path, capsys):
    image = tmp_path / 'image.npy'
    np.save(image, rgb(case['image']))
    assert main([*arguments(golden_checkpoints['float32'], case, image), '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['prompt'] == case['prompt']
    assert result['input_ids'] == case['input_ids']
    assert result['token_ids'] == case['action_token_ids']
    assert result['normalized_action'] == case['normalized_action']
    np.testing.assert_allclose(result['action'], case['action'], rtol=0, atol=1e-12)
    assert result['unnorm_key'] == case['unnorm_key']
    assert result['action_shape'] == [7]
    assert (result['device'], result['dtype'], result['attention']) == ('cpu', 'float32', 'sdpa')
    assert {'preprocess', 'vision', 'prefill', 'decode'} <= set(result['timings_ms'])


def test_an_invalid_action_is_an_error_unless_clipping_is_requested(golden_checkpoints, tmp_path,
                                                                    capsys):
    case = CASES[9]
    image = tmp_path / 'image.png'
    Image.fromarray(rgb(case['image'])).save(image)
    command = [*arguments(golden_checkpoints['float32'], case, image), '--json']
    assert main(command) == 3
    result = json.loads(capsys.readouterr().out)
    assert result['token_ids'] == case['action_token_ids']
    assert result['invalid'] == [0]
    assert not {'action', 'normalized_action'} & set(result)
    assert main([*command, '--clip-invalid']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['normalized_action'] == case['normalized_action']


def test_text_output_has_action_prompt_and_dataset(golden_checkpoints, cup, capsys):
    assert main(arguments(golden_checkpoints['float32'], CASES[0], cup)) == 0
    text = capsys.readouterr().out
    assert '+0.02013' in text and 'pick up the cup' in text and 'golden_bridge' in text


def damaged_copy(folder, source, damage):
    shutil.copytree(source, folder)
    damage(folder)
    return folder


def truncate(folder):
    os.truncate(folder / 'model.safetensors', 100_000)


def remove_tokenizer(folder):
    (folder / 'tokenizer.json').unlink()


def empty_tokenizer(folder):
    (folder / 'tokenizer.json').write_text('{}')


def remove_weights(folder):
    (folder / 'model.safetensors').unlink()


def change_model_type(folder):
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, 'model_type': 'llava'}))


def describe_fewer_blocks(folder):
    config = json.loads((folder / 'config.json').read_text())
    next(iter(config['timm_model_args'].values()))['depth'] = 3
    (folder / 'config.json').write_text(json.dumps(config))


@pytest.mark.parametrize('damage, message', [
    (truncate, 'model.safetensors is damaged or truncated'),
    (remove_tokenizer, 'tokenizer.json is missing'),
    (empty_tokenizer, 'tokenizer.json cannot be read'),
    (remove_weights, 'no model.safetensors'),
    (change_model_type, "model_type 'llava'"),
    (describe_fewer_blocks, 'has unknown 14 tensors'),
])
def test_a_damaged_checkpoint_is_one_line(golden_checkpoints, cup, tmp_path, capsys, damage,
                                          message):
    folder = damaged_copy(tmp_path / 'damaged', golden_checkpoints['float32'], damage)
    assert main(arguments(folder, CASES[0], cup)) == 2
    assert_one_line(capsys, message)


def assert_one_line(capsys, message):
    out, err = capsys.readouterr()
    assert out == ''
    assert err.count('\n') == 1 and message in err, err


@pytest.mark.parametrize('change, message', [
    (['--checkpoint', '/nowhere/at/all'], 'no such folder'),
    (['--unnorm-key', 'unknown'], 'choose from: golden_bridge, golden_fractal'),
    (['--image', __file__], 'not an image that Pillow can read'),
    (['--image', '/nowhere.png'], 'is missing'),
    (['--proprio', '1,two'], 'numbers separated by commas'),
    (['--attention', 'flash_attention_2'], 'needs a CUDA device'),
])
def test_an_invalid_argument_is_one_line(golden_checkpoints, cup, capsys, change, message):
    command = arguments(golden_checkpoints['float32'], CASES[0], cup)
    if change[0] == '--image':
        command = [*command[:2], *change, *command[4:]]
    else:
        command += change
    assert main(command) == 2
    assert_one_line(capsys, message)


def test_a_checkpoint_of_several_datasets_needs_one_named(golden_checkpoints, cup, capsys):
    command = ['--checkpoint', str(golden_checkpoints['float32']), '--image', str(cup),
               '--instruction', 'pick up the cup']
    assert main(command) == 2
    assert_one_line(capsys, 'trained on several datasets')


@pytest.mark.parametrize('array', [
    np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
    ids=['float', 'grey', 'empty'])
def test_an_array_of_another_dtype_or_shape_is_refused(golden_checkpoints, tmp_path, capsys,
                                                       array):
    image = tmp_path / 'image.npy'
    np.save(image, array)
    assert main(arguments(golden_checkpoints['float32'], CASES[0], image)) == 2
    assert_one_line(capsys, 'must be uint8 (height, width, 3)')


def test_the_command_prints_only_json(golden_checkpoints, cup):
    command = [sys.executable, '-m', 'vla_ros.cli.predict',
               *arguments(golden_checkpoints['float32'], CASES[0], cup), '--json']
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)['token_ids'] == CASES[0]['action_token_ids']
    assert done.stderr == ''


def test_a_folder_named_v01_gets_the_v01_prompt(golden_checkpoints, cup, tmp_path, capsys):
    folder = tmp_path / 'openvla-v01-7b'
    folder.symlink_to(golden_checkpoints['float32'])
    command = arguments(folder, CASES[7], cup)
    command.remove('--prompt')
    command.remove(CASES[7]['template'])
    main([*command, '--json', '--clip-invalid'])
    assert json.loads(capsys.readouterr().out)['prompt'] == CASES[7]['prompt']
