# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Generated checkpoints have the weights of the golden outputs, in every way of storage."""

import copy
import hashlib
import json
from pathlib import Path
import tracemalloc

from golden_images import make_image
import numpy as np
import pytest
from safetensors import safe_open

from vla_ros.errors import ParameterError
from vla_ros.util.tiny_checkpoint import model_shapes
from vla_ros.util.tiny_checkpoint import write_checkpoint

GOLDEN = Path(__file__).parent / 'golden'


@pytest.fixture(scope='module')
def spec():
    return json.loads((GOLDEN / 'spec_public.json').read_text(encoding='utf-8'))


@pytest.fixture
def small_spec(spec):
    """Return the spec with a small vocabulary and one layer."""
    small_spec = copy.deepcopy(spec)
    small_spec['config']['text_config'] |= {'vocab_size': 384, 'num_hidden_layers': 1}
    return small_spec


def stored_bits(folder):
    """Return every stored value as the bits of a float32, by tensor."""
    torch = pytest.importorskip('torch')
    bits = {}
    for file in folder.glob('*.safetensors'):
        with safe_open(file, 'pt') as tensors:
            for key in tensors.keys():
                tensor = tensors.get_tensor(key)
                bits[key] = tensor.to(torch.float32).numpy().view(np.uint32)
    return bits


def test_weights_are_those_of_the_golden_outputs(spec, tmp_path):
    assert write_checkpoint(spec, tmp_path) == spec['weights_sha256']


def test_dtype_and_shards_change_no_value(small_spec, tmp_path):
    digest = write_checkpoint(small_spec, tmp_path / 'a')
    assert write_checkpoint(small_spec, tmp_path / 'b', dtype='bfloat16') == digest
    assert write_checkpoint(small_spec, tmp_path / 'c', dtype='bfloat16', shards=3) == digest

    expected = stored_bits(tmp_path / 'a')
    assert {key: bits.shape for key, bits in expected.items()} == model_shapes(small_spec)
    for other in ('b', 'c'):
        bits = stored_bits(tmp_path / other)
        assert bits.keys() == expected.keys()
        assert all(np.array_equal(bits[key], expected[key]) for key in bits)


def test_the_index_names_the_file_of_every_tensor(small_spec, tmp_path):
    write_checkpoint(small_spec, tmp_path, dtype='bfloat16', shards=3)
    index = json.loads((tmp_path / 'model.safetensors.index.json').read_text(encoding='utf-8'))
    files = {}
    for file in tmp_path.glob('*.safetensors'):
        with safe_open(file, 'np') as tensors:
            files |= dict.fromkeys(tensors.keys(), file.name)
    assert files == index['weight_map']
    assert len(set(files.values())) == 3
    values = sum(int(np.prod(shape)) for shape in model_shapes(small_spec).values())
    assert index['metadata']['total_size'] == 2 * values


def test_the_config_names_the_stored_dtype(small_spec, tmp_path):
    write_checkpoint(small_spec, tmp_path, dtype='bfloat16')
    config = json.loads((tmp_path / 'config.json').read_text(encoding='utf-8'))
    assert config['torch_dtype'] == config['text_config']['torch_dtype'] == 'bfloat16'
    assert config['timm_model_args'] == small_spec['tiny_timm']
    assert 'torch_dtype' not in small_spec['config'], 'the spec of the caller was changed'


def test_non_action_tokens_can_be_suppressed(small_spec, tmp_path):
    small_spec['gain']['other_rows'] = 0.0
    write_checkpoint(small_spec, tmp_path)
    with safe_open(tmp_path / 'model.safetensors', 'np') as tensors:
        rows = tensors.get_tensor('language_model.lm_head.weight')
    assert np.flatnonzero(rows.any(axis=1)).tolist() == list(range(64, 320))


def test_writing_a_large_checkpoint_needs_little_memory(small_spec, tmp_path):
    small_spec['config']['text_config']['vocab_size'] = 200_000
    tracemalloc.start()
    write_checkpoint(small_spec, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / 'model.safetensors').stat().st_size > 150_000_000
    assert peak < 80_000_000


@pytest.mark.parametrize(('arguments', 'named'), [
    ({'dtype': 'float16'}, "dtype: got 'float16', it must be one of float32, bfloat16"),
    ({'shards': 0}, 'shards: got 0, it must be at least 1')])
def test_an_invalid_argument_is_refused_before_writing(small_spec, tmp_path, arguments, named):
    with pytest.raises(ParameterError, match=named):
        write_checkpoint(small_spec, tmp_path / 'new', **arguments)
    assert not (tmp_path / 'new').exists()


def test_oft_module_files_have_official_names_and_keys(small_spec, tmp_path):
    torch = pytest.importorskip('torch')
    write_checkpoint(small_spec, tmp_path, oft=True)
    head = torch.load(tmp_path / 'action_head--150000_checkpoint.pt', weights_only=True)
    projector = torch.load(tmp_path / 'proprio_projector--150000_checkpoint.pt',
                           weights_only=True)
    assert tuple(head['module.model.fc2.weight'].shape) == (7, 96)
    assert tuple(projector['module.fc1.weight'].shape) == (96, 8)
    assert head['module.model.fc2.weight'].dtype == torch.bfloat16


def test_images_are_those_of_the_golden_outputs():
    goldens = json.loads((GOLDEN / 'goldens_public.json').read_text(encoding='utf-8'))
    rows = goldens['cases'] + goldens['image_processor']
    for row in rows:
        image = make_image(row['image'])
        assert hashlib.sha256(image.tobytes()).hexdigest() == row['image_sha256'], row['image']
    assert {row['image']['kind'] for row in rows} >= {'gradient', 'checker', 'noise', 'blobs'}
