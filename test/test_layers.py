# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Imports point one way, proved by importing each layer with what it must not need out of reach.

Every module of the package belongs to a layer, new ones to the core unless they are named here.
"""

import importlib.util
import json
from pathlib import Path
import pkgutil
import subprocess
import sys

import pytest

import vla_ros

#: The modules, or packages, that may import rclpy and messages.
SHELL = ('vla_ros.camera', 'vla_ros.command_publisher', 'vla_ros.demo.links',
         'vla_ros.demo.mcap_file', 'vla_ros.demo.recorder', 'vla_ros.demo.session',
         'vla_ros.doctor.graph_probe', 'vla_ros.message_receiver', 'vla_ros.messages',
         'vla_ros.motion_loop', 'vla_ros.node', 'vla_ros.ros_arguments', 'vla_ros.ros_shell',
         'vla_ros.sim.camera_driver', 'vla_ros.sim.node', 'vla_ros.sim.trial',
         'vla_ros.sim.trials', 'vla_ros.transport.launching')
#: The only packages that may import torch.
MODEL = ('vla_ros.bench', 'vla_ros.model', 'vla_ros.training')

ROS = ('ament_index_python', 'builtin_interfaces', 'cv_bridge', 'diagnostic_msgs', 'geometry_msgs',
       'launch', 'launch_ros', 'lifecycle_msgs', 'rcl_interfaces', 'rclpy', 'rosgraph_msgs',
       'sensor_msgs', 'std_msgs', 'std_srvs', 'trajectory_msgs', 'vla_ros_msgs')
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


def module_names():
    found = pkgutil.walk_packages(vla_ros.__path__, 'vla_ros.', onerror=lambda name: None)
    return [vla_ros.__name__, *(module.name for module in found)]


def belongs_to(name, layer):
    return any(name == entry or name.startswith(f'{entry}.') for entry in layer)


def failing_imports(names, blocked):
    """Import the modules where the blocked packages cannot be; give the errors by module."""
    done = subprocess.run([sys.executable, '-c', IMPORT_ALL, json.dumps([blocked, names])],
                          cwd=Path(vla_ros.__file__).parents[1], capture_output=True, text=True,
                          check=True)
    return json.loads(done.stdout)


def test_the_core_needs_neither_ros_nor_torch():
    core = [name for name in module_names() if not belongs_to(name, SHELL + MODEL)]
    assert 'vla_ros.policy' in core
    assert failing_imports(core, ROS + TORCH) == {}


def test_the_model_runtime_needs_no_ros():
    pytest.importorskip('torch')
    model = [name for name in module_names() if belongs_to(name, MODEL)]
    assert 'vla_ros.model.openvla' in model
    assert failing_imports(model, ROS) == {}


def test_the_shell_needs_no_torch():
    pytest.importorskip('rclpy')
    shell = [name for name in module_names() if belongs_to(name, SHELL)]
    if importlib.util.find_spec('launch_ros') is None:  # not on PyPI
        shell.remove('vla_ros.transport.launching')
    assert failing_imports(shell, TORCH) == {}


@pytest.mark.parametrize('name', SHELL)
def test_only_what_needs_ros_is_called_shell(name):
    members = [member for member in module_names() if belongs_to(member, (name,))]
    assert failing_imports(members, ROS), f'{name} imports no ROS: take it off the list'
