# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
A folder is a layer, and imports point down, in the source and when modules are imported.

LAYERS lists every folder; a folder that is not in it fails.
"""

import ast
import json
from pathlib import Path
import subprocess
import sys

import pytest

import vla_ros

ROOT = Path(vla_ros.__file__).parent

#: From the top to the bottom. Rooms of one line never import each other.
LAYERS = (
    ('cli',),
    ('bench', 'demo', 'doctor'),
    ('evaluation', 'recording', 'sim', 'teleop', 'training'),
    ('ros',),
    ('control',),
    ('motion', 'safety', 'server'),
    ('model',),
    ('policy',),
    ('camera', 'robot', 'worlds'),
    ('data', 'transport'),
    ('util',),
    ('errors',),
)
#: The only rooms that import torch.
TORCH_ROOMS = ('bench', 'model', 'training')
#: The only room of the node that imports rclpy, and the rooms above that start or observe nodes.
ROS_ROOMS = ('bench', 'cli', 'demo', 'doctor', 'evaluation', 'recording', 'ros', 'sim', 'teleop')

ROS = ('builtin_interfaces', 'cv_bridge', 'diagnostic_msgs', 'geometry_msgs', 'launch',
       'launch_ros', 'lifecycle_msgs', 'rcl_interfaces', 'rclpy', 'rosgraph_msgs', 'sensor_msgs',
       'std_msgs', 'std_srvs', 'trajectory_msgs', 'vla_ros_msgs')
TORCH = ('flash_attn', 'torch', 'torchao', 'torchvision', 'transformers')

# Runs in a fresh interpreter: this one has imported everything already.
IMPORT_ALL = """
import importlib, importlib.abc, json, sys

blocked, names = json.loads(sys.argv[1])


class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in blocked:
            raise ModuleNotFoundError(f'{name} is out of reach of this layer', name=name)


sys.meta_path.insert(0, Block())
failures = {}
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failures[name] = str(error)
json.dump(failures, sys.stdout)
"""


def modules():
    """Return the path of each module by its dotted name below the package."""
    found = {}
    for path in ROOT.rglob('*.py'):
        parts = path.relative_to(ROOT).with_suffix('').parts
        if parts != ('__init__',):
            found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


def room(module):
    return module.partition('.')[0]


def imports(path, known):
    """Return the modules of the package that a file imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and f'{node.module}.'.startswith('vla_ros.'):
            module = node.module.removeprefix('vla_ros').lstrip('.')
            for alias in node.names:
                name = f'{module}.{alias.name}'.lstrip('.')
                found.add(name if name in known else module)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix('vla_ros.') for alias in node.names
                      if alias.name.startswith('vla_ros.')}
    return found - {''}


def failing_imports(names, blocked):
    """Import modules without the blocked packages; return the errors by module."""
    names = [f'vla_ros.{name}' for name in names]
    done = subprocess.run([sys.executable, '-c', IMPORT_ALL, json.dumps([blocked, names])],
                          cwd=ROOT.parent, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


LAYER_OF = {name: number for number, rooms in enumerate(LAYERS) for name in rooms}
MODULES = modules()
IMPORTS = {name: imports(path, MODULES) for name, path in MODULES.items()}


def test_only_errors_py_lies_outside_of_the_layers():
    assert {path.name for path in ROOT.glob('*.py')} == {'__init__.py', 'errors.py'}
    assert {room(name) for name in MODULES} == {
        name for name in LAYER_OF if (ROOT / name).exists() or name == 'errors'}


@pytest.mark.parametrize('name', sorted(MODULES))
def test_a_module_imports_only_lower_layers(name):
    here = room(name)
    wrong = sorted(other for other in IMPORTS[name]
                   if room(other) != here and LAYER_OF[room(other)] <= LAYER_OF[here])
    assert not wrong, f'{name} imports {wrong}, which lie above it or beside it'


def test_there_are_no_import_cycles():
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(f'a circle: {" -> ".join([*path[path.index(name):], name])}')
        if name not in done and name in IMPORTS:
            path.append(name)
            for other in sorted(IMPORTS[name]):
                visit(other)
            done.add(path.pop())

    for name in sorted(IMPORTS):
        visit(name)


def test_the_core_imports_neither_ros_nor_torch():
    core = [name for name in MODULES if room(name) not in (*TORCH_ROOMS, *ROS_ROOMS)]
    assert {'control.controller', 'policy.load', 'errors'} <= set(core)
    assert failing_imports(core, ROS + TORCH) == {}


def test_the_model_runtime_imports_no_ros():
    pytest.importorskip('torch')
    # triton comes with torch for CUDA only.
    model = [name for name in MODULES if room(name) in ('model', 'training')
             and name not in ('model.triton_kernels', 'model.gemv_kernels')]
    assert 'model.openvla' in model
    assert failing_imports(model, ROS) == {}


def test_the_ros_layers_import_no_torch():
    pytest.importorskip('rclpy')
    side = [name for name in MODULES if room(name) in ('ros', 'sim', 'evaluation', 'doctor')
            and name != 'ros.launching']  # needs launch, which PyPI does not have
    assert failing_imports(side, TORCH) == {}


@pytest.mark.parametrize('name', sorted(name for name in MODULES if room(name) == 'ros'
                                        and '.' in name and name != 'ros.main'))
def test_every_module_of_the_ros_folder_needs_ros(name):
    # ros.main imports rclpy once its signal handlers are in place.
    assert failing_imports([name], ROS), f'{name} imports no ROS: it belongs to control'
