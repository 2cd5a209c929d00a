# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""vla_doctor reports unmet requirements of machines and faults of checkpoints."""

from dataclasses import replace
import json
import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

from vla_ros.doctor.checkpoint import check_checkpoint
from vla_ros.doctor.checks import CHECKS
from vla_ros.doctor.checks import OLDEST
from vla_ros.doctor.machine import Gpu
from vla_ros.doctor.machine import Machine
from vla_ros.doctor.machine import Module
from vla_ros.doctor.machine import MODULES
from vla_ros.doctor.machine import parse_driver
from vla_ros.util.demo_checkpoint import demo_spec
from vla_ros.util.tiny_checkpoint import write_checkpoint
from vla_ros.util.tiny_tokenizer import write_tokenizer

GIB = 2 ** 30
DESKTOP = Machine(
    python='3.12.3 (/usr/bin/python3)',
    modules={name: Module('99.0') for name in MODULES},
    cuda='12.8',
    gpus=(Gpu('NVIDIA GeForce RTX 4090', 24 * GIB, (8, 9)),),
    driver='570.86.15',
    attention=('flash_attention_2', 'flash-attn is installed and the GPU can run it'),
    rmw='rmw_fastrtps_cpp',
    environment={'ROS_DISTRO': 'jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE': '/x/fastdds.xml'},
    shared_memory=(16 * GIB, 15 * GIB),
    orphaned=0,
    receive_buffer=64 * 2 ** 20)


def findings(machine):
    return {finding.subject: finding for finding in (check(machine) for check in CHECKS)}


def with_module(name, module):
    return replace(DESKTOP, modules={**DESKTOP.modules, name: module})


def with_environment(**environment):
    return replace(DESKTOP, environment=environment)


def test_a_complete_machine_has_nothing_to_fix():
    for finding in findings(DESKTOP).values():
        assert (finding.level, finding.fix) == ('ok', ''), finding


@pytest.mark.parametrize(('machine', 'subject', 'level', 'expected'), [
    (with_module('torch', Module()), 'torch', 'error', 'not installed; fix: pip install torch'),
    (with_module('torch', Module('2.4.1')), 'torch', 'error', '2.4.1 is older than 2.5'),
    (with_module('torch', Module('2.13.0', 'OSError: libcudart.so')), 'torch', 'error',
     'is broken: OSError: libcudart.so'),
    (with_module('transformers', Module()), 'transformers', 'warning', 'requirements.txt'),
    (with_module('PIL', Module('8.4.0')), 'pillow', 'error', '8.4.0 is older than 9.0'),
    (with_module('flash_attn', Module()), 'flash-attn', 'ok', 'is not installed'),
    (with_module('rclpy', Module()), 'rclpy', 'error', 'setup.bash'),
    (with_module('vla_ros_msgs.msg', Module()), 'vla_ros_msgs', 'warning',
     'colcon build --base-paths . msg'),
    (with_module('cv_bridge.boost.cv_bridge_boost', Module()), 'cv_bridge', 'warning', 'rgb8'),
    (replace(DESKTOP, gpus=(), driver=''), 'CUDA', 'warning', 'no NVIDIA driver'),
    (replace(DESKTOP, gpus=(), cuda=''), 'CUDA', 'warning', 'CPU build'),
    (replace(DESKTOP, gpus=()), 'CUDA', 'error', 'torch for CUDA 12.8 finds no GPU'),
    (replace(DESKTOP, gpus=(Gpu('T4', 16 * GIB, (7, 5)),)), 'CUDA', 'warning',
     'compute capability 7.5'),
    (replace(DESKTOP, gpus=(Gpu('A2000', 12 * GIB, (8, 6)),)), 'CUDA', 'warning', '14.0 GiB'),
    (replace(DESKTOP, attention=('', '')), 'attention', 'error', 'install torch'),
    (replace(DESKTOP, rmw=''), 'middleware', 'error', 'unknown without rclpy'),
    (with_environment(RMW_IMPLEMENTATION='rmw_cyclonedds_cpp'), 'middleware', 'error',
     'bound to rmw_fastrtps_cpp'),
    (with_environment(ROS_DISTRO='kilted'), 'middleware', 'warning',
     'export FASTDDS_DEFAULT_PROFILES_FILE=/'),
    (with_environment(ROS_DISTRO='humble'), 'middleware', 'warning',
     'export FASTRTPS_DEFAULT_PROFILES_FILE=/'),
    (replace(DESKTOP, rmw='rmw_cyclonedds_cpp', environment={}), 'middleware', 'ok', ''),
    (with_environment(), 'ROS 2', 'ok', 'Python packages'),
    (replace(with_module('rclpy', Module()), environment={}), 'ROS 2', 'warning', '/opt/ros'),
    (replace(DESKTOP, shared_memory=None), '/dev/shm', 'warning', 'is not there'),
    (replace(DESKTOP, shared_memory=(64 * 2 ** 20, 60 * 2 ** 20)), '/dev/shm', 'warning',
     '60 MiB free of 64 MiB'),
    (replace(DESKTOP, orphaned=210 * 2 ** 20), '/dev/shm', 'ok', '210 MiB are of processes'),
    (replace(DESKTOP, receive_buffer=212992), 'rmem_max', 'warning', 'sysctl'),
    (replace(DESKTOP, receive_buffer=None), 'rmem_max', 'warning', 'cannot be read'),
])
def test_an_unmet_requirement_is_named_with_its_fix(machine, subject, level, expected):
    finding = findings(machine)[subject]
    assert finding.level == level
    assert expected in finding.line()
    assert '\n' not in finding.line()


def test_minimum_versions_are_those_of_requirements_txt():
    text = (Path(__file__).parents[1] / 'requirements.txt').read_text(encoding='utf-8')
    required = dict(re.findall(r'^([a-z_]+)>=([\d.]+)', text, re.MULTILINE))
    assert {name: required.get(name, '0') for name in OLDEST} == OLDEST


@pytest.mark.parametrize(('text', 'version'), [
    ('NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024', '550.54.15'),
    ('NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release', '570.86.15'),
    ('', '')])
def test_the_driver_version_is_parsed(text, version):
    assert parse_driver(text) == version


@pytest.fixture
def checkpoint(tmp_path):
    write_tokenizer(tmp_path, 256)
    write_checkpoint(demo_spec(), tmp_path, dtype='bfloat16', shards=3)
    return tmp_path


def test_a_valid_checkpoint_is_described(checkpoint):
    lines = {finding.subject: finding.line() for finding in check_checkpoint(checkpoint)}
    assert all(line.startswith('ok') for line in lines.values()), lines
    assert 'Llama 3 layers' in lines['configuration']
    assert '3 file(s), 0.003 GB' in lines['weights']
    assert 'BF16' in lines['weights']
    assert 'demo (7)' in lines['datasets']


def truncate(folder):
    path = sorted(folder.glob('*.safetensors'))[1]
    path.write_bytes(path.read_bytes()[:-1000])


def overwrite(folder):
    sorted(folder.glob('*.safetensors'))[0].write_text('<html>404</html>' * 100)


def drop_shard(folder):
    sorted(folder.glob('*.safetensors'))[2].unlink()


def drop_percentiles(folder):
    path = folder / 'dataset_statistics.json'
    statistics = json.loads(path.read_text())
    del statistics['demo']['action']['q01']
    path.write_text(json.dumps(statistics))


@pytest.mark.parametrize(('damage', 'subject', 'expected'), [
    (truncate, 'weights', 'model-00002-of-00003.safetensors is truncated or damaged'),
    (overwrite, 'weights', 'model-00001-of-00003.safetensors is damaged'),
    (drop_shard, 'weights', 'model-00003-of-00003.safetensors is missing'),
    (lambda folder: (folder / 'tokenizer.json').unlink(), 'tokenizer', 'tokenizer.json'),
    (lambda folder: (folder / 'config.json').write_text('{'), 'configuration', 'config.json'),
    (lambda folder: (folder / 'preprocessor_config.json').unlink(), 'images',
     'preprocessor_config.json'),
    (drop_percentiles, 'datasets', 'q01'),
])
def test_damage_to_a_checkpoint_is_reported(checkpoint, damage, subject, expected):
    damage(checkpoint)
    finding = next(one for one in check_checkpoint(checkpoint) if one.subject == subject)
    assert finding.level == 'error'
    assert expected in finding.line()


def run_doctor(*arguments, before='pass', path=''):
    """Run vla_doctor in a process of its own, after a line of Python."""
    script = f'import sys; {before}; from vla_ros.cli.doctor import main; sys.exit(main())'
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(
        filter(None, (str(path), os.environ.get('PYTHONPATH', ''))))}
    return subprocess.run([sys.executable, '-c', script, *arguments], env=environment,
                          capture_output=True, text=True, timeout=120, check=False)


def test_this_machine_is_described_as_json(checkpoint):
    done = run_doctor('--json', '--checkpoint', str(checkpoint))
    report = json.loads(done.stdout)
    errors = [finding for finding in report['findings'] if finding['level'] == 'error']
    assert done.returncode == int(bool(errors))
    assert report['ok'] == (not errors)
    assert {'Python', 'torch', 'CUDA', 'attention', 'rclpy', 'middleware', '/dev/shm',
            'weights', 'datasets'} <= {finding['subject'] for finding in report['findings']}


def test_the_doctor_needs_no_package_but_numpy(tmp_path):
    names = ('torch', 'rclpy', 'PIL', 'tokenizers', 'safetensors', 'transformers', 'tqdm', 'yaml',
             'huggingface_hub', 'ament_index_python', 'cv_bridge', 'vla_ros_msgs')
    done = run_doctor('--checkpoint', str(tmp_path),
                      before=f'sys.modules.update(dict.fromkeys({names!r}))')
    assert done.returncode == 1
    assert done.stderr == ''
    for name in ('torch', 'rclpy', 'tokenizers'):
        assert re.search(rf'^error +{name} +is not installed; fix: ', done.stdout, re.MULTILINE)


def test_a_broken_module_is_distinguished_from_a_missing_one(tmp_path):
    (tmp_path / 'tokenizers.py').write_text('raise RuntimeError("built for\\nanother numpy")')
    done = run_doctor(path=tmp_path)
    assert done.returncode == 1
    assert 'is broken: RuntimeError: built for another numpy; fix: ' in done.stdout


def test_unknown_arguments_exit_with_status_2():
    assert run_doctor('--chekpoint', 'x').returncode == 2
