# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
A missing package is one line with the package, its requirements file and the command.

The packages are hidden from a fresh interpreter, which runs an executable as it is installed.
"""

from importlib.metadata import entry_points
from importlib.metadata import EntryPoint
from pathlib import Path
import re
import shlex
import subprocess
import sys

import pytest
from vla_ros.util.packages import install_command
from vla_ros.util.packages import missing_package
from vla_ros.util.share import find_share

HIDE = """
import sys
from importlib.machinery import PathFinder

hidden, find = sys.argv.pop(1).split(','), PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.partition('.')[0] in hidden else find(name, path, target))
"""
RUN = """
program = sys.argv.pop(1)
from vla_ros.cli import programs
sys.exit(getattr(programs, program)())
"""
LOAD = """
from vla_ros.errors import VlaError
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
try:
    load_policy(PolicyConfig(checkpoint=sys.argv[1], device='cpu'))
except VlaError as error:
    sys.exit(str(error))
"""
#: Arguments of each executable.
ARGUMENTS = {
    'vla_predict': '--checkpoint {checkpoint} --image {image} --instruction stop --device cpu',
    'vla_serve': '--checkpoint {checkpoint} --device cpu',
    'vla_train': '--out {folder}/out --data {folder}/data --samples 8',
    'vla_bench': 'model --small --json',
    'vla_demo': '--out {folder}/demo',
    'vla_eval': '--episodes 1',
    'vla_sim': '',
    'vla_inference_node': '',
    'vla_panel': '--port 0',
}
NEEDS = [
    *(('vla_predict', name, 'requirements.txt') for name in (
        'numpy', 'PIL', 'yaml', 'torch', 'tokenizers', 'safetensors')),
    *(('vla_serve', name, 'requirements-serve.txt') for name in ('starlette', 'uvicorn')),
    *(('vla_panel', name, 'requirements-serve.txt') for name in (
        'starlette', 'uvicorn', 'websockets')),
    ('vla_serve', 'torch', 'requirements.txt'),
    *(('vla_train', name, 'requirements.txt') for name in ('mujoco', 'matplotlib', 'torch')),
    *(('vla_bench', name, 'requirements.txt') for name in ('torch', 'transformers')),
    ('vla_demo', 'matplotlib', 'requirements.txt'),
    *((program, 'numpy', 'requirements.txt') for program in (
        'vla_demo', 'vla_eval', 'vla_sim', 'vla_inference_node')),
    ('vla_sim', 'mujoco', 'requirements.txt'),
    ('vla_inference_node', 'yaml', 'requirements.txt'),
]
DISTRIBUTIONS = {'PIL': 'pillow', 'yaml': 'pyyaml'}


def hide(names, code, *arguments):
    return subprocess.run([sys.executable, '-c', HIDE + code, names, *arguments], text=True,
                          capture_output=True, cwd=find_share(), timeout=120)


def run(program, hidden, **paths):
    arguments = ARGUMENTS[program].format(**paths).split()
    return hide(hidden, RUN, program, *arguments)


@pytest.fixture
def paths(tmp_path, golden_checkpoints):
    image = tmp_path / 'image.npy'
    np = pytest.importorskip('numpy')
    np.save(image, np.zeros((8, 8, 3), np.uint8))
    return {'checkpoint': golden_checkpoints['float32'], 'image': image, 'folder': tmp_path}


@pytest.mark.parametrize(('program', 'name', 'requirements'), NEEDS)
def test_a_missing_package_is_one_line_with_its_remedy(paths, program, name, requirements):
    if program in ('vla_sim', 'vla_inference_node', 'vla_eval', 'vla_demo'):
        pytest.importorskip('rclpy')
    done = run(program, name, **paths)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ''
    (line,) = done.stderr.splitlines()
    package = DISTRIBUTIONS.get(name, name)
    assert line.startswith(f'{program}')
    assert f'the Python package {package} is not installed for {sys.executable}; run: ' in line
    file, = set(re.findall(r'[^\s(]*/requirements[\w-]*\.txt', line))
    assert Path(file).name == requirements
    assert any(one.startswith(package) for one in Path(file).read_text().splitlines())


@pytest.mark.parametrize('program', ['vla_demo', 'vla_eval', 'vla_sim', 'vla_inference_node'])
def test_without_ros_one_line_says_to_source_setup_bash(paths, program):
    done = run(program, 'rclpy', **paths)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'{program}: ')
    assert 'the ROS 2 package rclpy is not installed for' in line
    assert 'source the setup.bash of a ROS 2 installation' in line


def test_a_missing_ros_package_is_named_with_its_apt_package(paths):
    pytest.importorskip('rclpy')
    done = run('vla_inference_node', 'diagnostic_msgs', **paths)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith('run: sudo apt install ros-$ROS_DISTRO-diagnostic-msgs')


@pytest.mark.parametrize('name', ['torch', 'tokenizers', 'safetensors'])
def test_the_node_reports_a_missing_package_of_its_policy(paths, name):
    done = hide(name, LOAD, str(paths['checkpoint']))
    assert done.stderr.startswith(f'policy local: the Python package {name} is not installed for')


def test_the_doctor_runs_without_optional_packages(paths):
    done = hide('numpy,PIL,yaml,torch,transformers,tokenizers,safetensors,rclpy,tqdm', RUN,
                'vla_doctor')
    assert (done.returncode, done.stderr) == (1, '')
    for name in ('numpy', 'pillow'):
        assert re.search(rf'^error +{name} +is not installed; fix: .*/requirements\.txt',
                         done.stdout, re.MULTILINE), done.stdout


def test_a_package_in_no_requirements_file_is_installed_by_its_name():
    error = missing_package('policy a:b', ModuleNotFoundError(name='somebody.module'))
    assert str(error).endswith(f'run: {shlex.quote(sys.executable)} -m pip install somebody')


def test_a_package_that_cannot_be_imported_is_named_with_the_error():
    error = missing_package('motion', ImportError('libruckig.so:\n no such file', name='ruckig'))
    assert 'the Python package ruckig cannot be imported by' in str(error)
    assert '(libruckig.so: no such file)' in str(error)


def test_a_missing_module_of_vla_ros_stays_a_traceback():
    with pytest.raises(ModuleNotFoundError):
        missing_package('vla_predict', ModuleNotFoundError(name='vla_ros.nowhere'))


@pytest.mark.parametrize('requirements', ['requirements.txt', 'requirements-serve.txt'])
def test_the_suggested_command_is_accepted_by_bash_and_pip(requirements):
    command = install_command(requirements)
    # A dry run without an index: pip reads both files before it looks for packages.
    done = subprocess.run(['bash', '-c', f'{command} --dry-run --no-index --no-deps'],
                          capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0 or 'No matching distribution' in output, output
    assert 'Could not open' not in output and 'Invalid requirement' not in output


def test_every_executable_is_a_console_script():
    scripts = [one for one in entry_points(group='console_scripts')
               if one.value.startswith('vla_ros.')]
    assert scripts
    assert all(isinstance(one, EntryPoint) and one.value == f'vla_ros.cli.programs:{one.name}'
               for one in scripts)
