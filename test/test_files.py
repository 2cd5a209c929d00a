# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Files that a user names must be regular and of limited size; errors are one line."""

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

from goldens import CASES
from goldens import rgb
import numpy as np
import pytest

from vla_ros.data.datasets import DatasetError
from vla_ros.data.datasets import read_datasets
from vla_ros.errors import VlaError
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.util.files import check_regular
from vla_ros.util.files import FileError
from vla_ros.util.files import read_bytes
from vla_ros.util.files import read_json_object

torch = pytest.importorskip('torch')


POINTER = ('version https://git-lfs.github.com/spec/v1\n'
           f'oid sha256:{"0" * 64}\nsize 14947392\n')


def device(path):
    path.symlink_to('/dev/zero')


def pipe(path):
    os.mkfifo(path)


def folder(path):
    path.mkdir()


def broken_link(path):
    path.symlink_to('/nowhere/at/all')


def lfs_pointer(path):
    path.write_text(POINTER)


def empty(path):
    path.touch()


DAMAGES = [(device, 'is a device'), (pipe, 'is a named pipe'), (folder, 'is a folder'),
           (broken_link, 'is a link to /nowhere/at/all, which is missing'),
           (lfs_pointer, 'is a Git LFS pointer.*git lfs pull'), (empty, 'is empty|cannot be read')]


@pytest.mark.parametrize('damage, message', DAMAGES, ids=lambda value: getattr(
    value, '__name__', ''))
def test_a_json_file_that_is_not_regular_or_empty_is_refused(tmp_path, damage, message):
    damage(tmp_path / 'a.json')
    with pytest.raises(FileError, match=message):
        read_json_object(tmp_path / 'a.json')
    with pytest.raises(FileError, match=message):
        check_regular(tmp_path / 'a.json')


@pytest.mark.parametrize('content, message', [
    ('[' * 100_000, 'nested too deeply'), ('[1]', 'must hold a JSON object'),
    ('{"a": ', 'cannot be read'), ('{"a": ' + '1' * 10_000 + '}', 'cannot be read'),
    ('  \n', 'is empty'), (b'\xff\xfe{}', 'not UTF-8 text')])
def test_invalid_json_is_reported_in_one_line(tmp_path, content, message):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / 'a.json').write_bytes(data)
    with pytest.raises(FileError, match=message) as caught:
        read_json_object(tmp_path / 'a.json')
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


def test_reading_stops_at_the_size_limit(tmp_path):
    (tmp_path / 'a').write_bytes(b'x' * 11)
    with pytest.raises(FileError, match='has more than'):
        read_bytes(tmp_path / 'a', 10)
    assert read_bytes(tmp_path / 'a', 11) == b'x' * 11
    # a file without a size, whose content is made while it is read
    assert read_bytes(Path('/proc/self/status'), 2**20)


FILES = ['config.json', 'preprocessor_config.json', 'dataset_statistics.json', 'tokenizer.json',
         'model.safetensors', 'model.safetensors.index.json', 'action_head--1_checkpoint.pt',
         'processor_config.json', 'adapter/adapter_config.json',
         'adapter/adapter_model.safetensors']


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('damage, message', DAMAGES, ids=lambda value: getattr(
    value, '__name__', ''))
def test_a_checkpoint_file_that_is_not_regular_or_empty_is_refused(
        golden_checkpoints, tmp_path, name, damage, message):
    source = golden_checkpoints['float32']
    target = tmp_path / 'checkpoint'
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).symlink_to(path)
    (target / 'adapter').mkdir()
    (target / 'adapter' / 'adapter_config.json').write_text('{"peft_type": "LORA"}')
    (target / name).unlink(missing_ok=True)
    damage(target / name)
    adapters = {'a': str(target / 'adapter')} if name.startswith('adapter/') else {}
    head = 'l1' if name.startswith('action_head') else 'auto'
    with pytest.raises(VlaError, match=message) as caught:
        load_policy(PolicyConfig(str(target), CASES[0]['unnorm_key'], device='cpu', warmup=False,
                                 adapters=adapters, head=head))
    assert '\n' not in str(caught.value) and Path(name).name in str(caught.value)


def test_vla_predict_refuses_a_named_pipe_instead_of_hanging(golden_checkpoints, tmp_path):
    target = tmp_path / 'checkpoint'
    shutil.copytree(golden_checkpoints['float32'], target)
    (target / 'config.json').unlink()
    os.mkfifo(target / 'config.json')
    np.save(tmp_path / 'image.npy', rgb(CASES[0]['image']))
    command = [sys.executable, '-m', 'vla_ros.cli.predict', '--checkpoint', str(target),
               '--instruction', 'go', '--image', str(tmp_path / 'image.npy'), '--device', 'cpu']
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.count('\n') == 1 and 'config.json is a named pipe' in done.stderr


@pytest.mark.parametrize('damage, message', DAMAGES[:4])
def test_an_image_or_datasets_file_that_is_not_regular_is_refused(tmp_path, damage, message):
    from vla_ros.cli.predict import read_image
    from vla_ros.errors import ImageError
    for name in ('a.npy', 'a.png', 'a.yaml'):
        damage(tmp_path / name)
    for name in ('a.npy', 'a.png'):
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name)
    with pytest.raises(DatasetError, match=message):
        read_datasets(tmp_path / 'a.yaml')


def test_a_datasets_file_that_is_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / 'a.yaml').write_text('[' * 100_000)
    with pytest.raises(DatasetError):
        read_datasets(tmp_path / 'a.yaml')


def test_valid_json_is_read(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({'a': [1, 'ü']}))
    assert read_json_object(tmp_path / 'a.json') == {'a': [1, 'ü']}
