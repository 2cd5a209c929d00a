# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Unusual values in the files of a checkpoint are loaded or refused in one line."""

import copy
import json
import os
import shutil
import struct

from goldens import rgb
from goldens import SPEC
import numpy as np
import pytest

from vla_ros.cli.predict import main
from vla_ros.errors import VlaError
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy

torch = pytest.importorskip('torch')

from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402, I100
from vla_ros.util.tiny_checkpoint import write_checkpoint  # noqa: E402
from vla_ros.util.tiny_tokenizer import write_tokenizer  # noqa: E402

UNUSUAL = ['4096', -1, 0, 10**30, 1e308, float('nan'), float('inf'), 2.5, True, [], ['x'], [None],
           {}, {'a': 1}, '', [[1]], '\ud800']
KEYS = ['model_type', 'vision_backbone_id', 'llm_backbone_id', 'timm_model_ids', 'image_sizes',
        'timm_override_act_layers', 'use_fused_vision_backbone', 'timm_model_args',
        'text_config', 'n_action_bins', 'pad_to_multiple_of', 'norm_stats']
TEXT_KEYS = ['vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers',
             'num_attention_heads', 'num_key_value_heads', 'head_dim', 'rms_norm_eps',
             'max_position_embeddings', 'rope_theta', 'tie_word_embeddings', 'bos_token_id',
             'eos_token_id', 'model_type', 'hidden_act', 'rope_scaling', 'rope_parameters']
TOWER_KEYS = ['patch_size', 'embed_dim', 'depth', 'num_heads', 'mlp_ratio', 'qkv_bias',
              'init_values', 'class_token', 'no_embed_class', 'reg_tokens', 'pre_norm',
              'act_layer', 'norm_eps']
PREPROCESSOR_KEYS = ['image_resize_strategy', 'input_sizes', 'means', 'stds', 'tvf_crop_params',
                     'tvf_do_letterbox', 'tvf_letterbox_fill', 'tvf_normalize_params',
                     'tvf_resize_params']


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    spec = copy.deepcopy(SPEC)
    spec['config']['text_config'].update(vocab_size=1024 + 64, num_hidden_layers=1)
    folder = tmp_path_factory.mktemp('source')
    write_checkpoint(spec, folder, shards=2)
    write_tokenizer(folder, 256)
    return folder


@pytest.fixture
def checkpoint(source, tmp_path):
    """Return a copy of links, in which each file can be replaced."""
    folder = tmp_path / 'checkpoint'
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def rewrite(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.unlink()
    path.write_text(json.dumps(content))


def load(folder):
    """Load a checkpoint; return its error, or an empty text."""
    try:
        policy = load_policy(PolicyConfig(str(folder), 'golden_bridge', device='cpu',
                                          warmup=True))
    except VlaError as error:
        text = str(error)
        assert '\n' not in text and 10 < len(text) < 700, text
        return text
    assert policy.spec.action_shape == (1, 7)
    return ''


@pytest.mark.parametrize('key', KEYS)
def test_any_value_in_the_config_is_read_or_refused(checkpoint, key):
    original = (checkpoint / 'config.json').read_text()
    for value in UNUSUAL:
        (checkpoint / 'config.json').unlink()
        (checkpoint / 'config.json').write_text(json.dumps({**json.loads(original), key: value}))
        load(checkpoint)


@pytest.mark.parametrize('key', TEXT_KEYS)
def test_any_value_in_the_text_config_is_read_or_refused(checkpoint, key):
    original = json.loads((checkpoint / 'config.json').read_text())
    for value in UNUSUAL:
        text = {**original['text_config'], key: value}
        (checkpoint / 'config.json').unlink()
        (checkpoint / 'config.json').write_text(json.dumps({**original, 'text_config': text}))
        problem = load(checkpoint)
        if isinstance(value, (str, dict, list)) and value and 'rope' not in key:
            assert f'text_config.{key}' in problem, (value, problem)


@pytest.mark.parametrize('key', TOWER_KEYS)
def test_any_value_in_the_arguments_of_a_tower_is_read_or_refused(checkpoint, key):
    original = json.loads((checkpoint / 'config.json').read_text())
    for value in UNUSUAL:
        config = copy.deepcopy(original)
        next(iter(config['timm_model_args'].values()))[key] = value
        (checkpoint / 'config.json').unlink()
        (checkpoint / 'config.json').write_text(json.dumps(config))
        load(checkpoint)


@pytest.mark.parametrize('key', PREPROCESSOR_KEYS)
def test_any_value_in_the_preprocessor_config_is_read_or_refused(checkpoint, key):
    name = 'preprocessor_config.json'
    original = json.loads((checkpoint / name).read_text())
    for value in UNUSUAL:
        (checkpoint / name).unlink()
        (checkpoint / name).write_text(json.dumps({**original, key: value}))
        try:
            processor = open_checkpoint(str(checkpoint)).image_processor
        except VlaError as error:
            assert '\n' not in str(error) and name in str(error)
        else:
            assert np.isfinite(processor(np.zeros((40, 50, 3), np.uint8))).all()


@pytest.mark.parametrize('entry', [
    {'size': '56'}, {'size': [10**6, 10**6]}, {'size': -1}, {'size': [56.5, 56]}, 5, None,
    {'size': 56, 'interpolation': 99}, {'size': 56, 'interpolation': 'bicubic'}])
def test_an_invalid_image_size_is_refused(checkpoint, entry):
    rewrite(checkpoint, 'preprocessor_config.json',
            lambda content: content.update(tvf_resize_params=[entry] * 2))
    with pytest.raises(VlaError, match='preprocessor_config.json: unusable entry'):
        open_checkpoint(str(checkpoint))


@pytest.mark.parametrize('weight_map, message', [
    ('x', 'holds no weight_map'), ([], 'holds no weight_map'), ({}, 'holds no weight_map'),
    (5, 'holds no weight_map'), (None, 'holds no weight_map'),
    ({'a': '../model-00001-of-00002.safetensors'}, 'a .safetensors file of this folder'),
    ({'a': '/etc/passwd'}, 'a .safetensors file of this folder'),
    ({'a': '/tmp/x.safetensors'}, 'a .safetensors file of this folder'),
    ({'a': 5}, 'a .safetensors file of this folder'),
    ({'a': None}, 'a .safetensors file of this folder'),
    ({'a': ['x']}, 'a .safetensors file of this folder'),
    ({'a': {}}, 'a .safetensors file of this folder'), ({'a': ''}, 'a .safetensors file'),
    ({'a': 'config.json'}, 'a .safetensors file of this folder'),
    ({'a': 'x\0.safetensors'}, 'a .safetensors file of this folder'),
    ({'a': 'nowhere.safetensors'}, 'nowhere.safetensors is missing'),
    ({'a': 'x' * 190 + '\ud800.safetensors'}, 'is missing'),
    ({'a': 'model-00001-of-00002.safetensors'}, 'lacks 1 tensors .* lists: a'),
])
def test_a_weight_index_may_only_name_shards_in_its_folder(checkpoint, weight_map, message):
    rewrite(checkpoint, 'model.safetensors.index.json',
            lambda content: content.update(weight_map=weight_map))
    with pytest.raises(VlaError, match=message):
        load_policy(PolicyConfig(str(checkpoint), 'golden_bridge', device='cpu'))


def truncations():
    return [0, 1, 7, 8, 9, 100, 5000, -1]


@pytest.mark.parametrize('size', truncations())
def test_a_truncated_shard_is_named(checkpoint, size):
    path = checkpoint / 'model-00001-of-00002.safetensors'
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:size])
    assert 'model-00001-of-00002.safetensors' in load(checkpoint)


@pytest.mark.parametrize('header', [
    b'', b'[]', b'5', b'{', b'{"a": 5}', b'{"a": {"dtype": "F32"}}', b'\xff' * 10,
    b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 99999999999]}}',
    b'{"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}}'])
def test_an_invalid_safetensors_header_is_named_with_its_file(checkpoint, header):
    from vla_ros.doctor.checkpoint import check_checkpoint
    path = checkpoint / 'model-00001-of-00002.safetensors'
    path.unlink()
    for length in (len(header), 2**63, 2**62):
        path.write_bytes(struct.pack('<Q', length) + header + b'\0' * 4)
        assert 'model-00001-of-00002.safetensors' in load(checkpoint)
        findings = {one.subject: one for one in check_checkpoint(checkpoint)}
        assert findings['weights'].level == 'error'


@pytest.mark.parametrize('content', [
    b'', b'junk', b'PK\3\4', b'\x80\x02.', b'\x80\x02K\1.', b'\x80\x02]q\0.', b'\x80\x02c',
    b'\x80\x02cos\nsystem\nX\2\0\0\0ls\x85R.', b'\x80\x02h\5.', b'(dp0\nS', b'\x80\x05\x95'])
def test_an_invalid_pickle_is_named_with_its_file(checkpoint, content):
    (checkpoint / 'action_head--1_checkpoint.pt').write_bytes(content)
    assert 'action_head--1_checkpoint.pt' in load(checkpoint)


@pytest.mark.parametrize('content', ['{}', '[]', '5', '"x"', '{"model": {}}', '[' * 10_000,
                                     '{"version": "1.0", "model": {"type": "BPE", "vocab": '
                                     '{"a": -1}, "merges": []}}',
                                     '{"version": "1.0", "model": {"type": "WordPiece", "vocab": '
                                     '{}, "unk_token": "x", "continuing_subword_prefix": "", '
                                     '"max_input_chars_per_word": 3}}'])
def test_an_invalid_tokenizer_file_is_named(checkpoint, content):
    (checkpoint / 'tokenizer.json').unlink()
    (checkpoint / 'tokenizer.json').write_text(content)
    assert 'tokenizer.json' in load(checkpoint)


def test_a_tokenizer_of_another_model_is_refused(checkpoint, golden_checkpoints):
    (checkpoint / 'tokenizer.json').unlink()
    (checkpoint / 'tokenizer.json').symlink_to(golden_checkpoints['float32'] / 'tokenizer.json')
    assert 'they belong to different models' in load(checkpoint)


def test_shapes_are_compared_before_memory_is_allocated(checkpoint):
    """The config describes a layer of a petabyte."""
    rewrite(checkpoint, 'config.json', lambda content: content['text_config'].update(
        intermediate_size=2**19, hidden_size=2**17, num_attention_heads=2**12))
    assert 'config.json makes it' in load(checkpoint)


def test_vla_predict_reports_an_invalid_config_in_one_line(checkpoint, tmp_path, capsys):
    rewrite(checkpoint, 'config.json', lambda content: content['text_config'].update(
        hidden_size='64'))
    np.save(tmp_path / 'image.npy', rgb(SPEC['images'][0]) if 'images' in SPEC else
            np.zeros((56, 56, 3), np.uint8))
    assert main(['--checkpoint', str(checkpoint), '--image', str(tmp_path / 'image.npy'),
                 '--instruction', 'go', '--device', 'cpu']) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1
    assert "text_config.hidden_size: got '64', it must be a whole number from 1 to" in err


def test_processor_config_of_transformers_5_replaces_preprocessor_config(source, tmp_path):
    folder = tmp_path / 'five'
    shutil.copytree(source, folder)
    old = json.loads((folder / 'preprocessor_config.json').read_text())
    os.unlink(folder / 'preprocessor_config.json')
    with pytest.raises(VlaError, match='preprocessor_config.json is missing'):
        open_checkpoint(str(folder))
    new = {'image_processor': old, 'processor_class': 'PrismaticProcessor'}
    (folder / 'processor_config.json').write_text(json.dumps(new))
    assert open_checkpoint(str(folder)).image_processor == \
        open_checkpoint(str(source)).image_processor
    assert load(folder) == ''
    (folder / 'preprocessor_config.json').write_text(
        json.dumps({**old, 'tvf_do_letterbox': True, 'tvf_letterbox_fill': [1, 2, 3]}))
    with pytest.raises(VlaError, match='describe different images'):
        open_checkpoint(str(folder))
    (folder / 'processor_config.json').write_text('{"processor_class": "PrismaticProcessor"}')
    assert open_checkpoint(str(folder)).image_processor.letterbox_fill == (1, 2, 3)
    os.unlink(folder / 'preprocessor_config.json')
    with pytest.raises(VlaError, match='holds no image_processor'):
        open_checkpoint(str(folder))


def test_a_checkpoint_in_the_format_of_prismatic_is_named_with_its_converter(tmp_path):
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / 'step-000100-epoch-00-loss=1.0.pt').write_bytes(b'')
    (tmp_path / 'config.json').write_text('{"vla": {"type": "x"}, "run_id": "y"}')
    (tmp_path / 'dataset_statistics.json').write_text('{}')
    for _ in ('with its files', 'as a hub gives it, without them'):
        with pytest.raises(VlaError) as caught:
            open_checkpoint(str(tmp_path))
        assert "prismatic's own format" in str(caught.value)
        assert 'convert_openvla_weights_to_hf.py' in str(caught.value)
        shutil.rmtree(tmp_path / 'checkpoints', ignore_errors=True)
