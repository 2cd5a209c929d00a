# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
``ros2`` runs under the system's Python, whatever environment is active.

A launch file loads there with nothing but the standard library, launch and launch_ros.
"""

from pathlib import Path
import subprocess
import sys

import pytest

LAUNCH_FILES = sorted(Path(__file__).parents[1].glob('launch/*.launch.py'))

# Every name of launch and launch_ros is replaced by a class, so that this also runs where neither
# is installed.
LOAD = """
import importlib.abc, importlib.machinery, runpy, sys, types

ALLOWED = {*sys.stdlib_module_names, 'vla_ros', 'ament_index_python', 'colcon_override'}


class PlaceholderModule(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (), {'__init__': lambda self, *args, **settings: None})


class PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        top = name.partition('.')[0]
        if top in ('launch', 'launch_ros'):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        if top not in ALLOWED:
            raise ModuleNotFoundError(f'{name} is not there for ros2', name=name)

    def create_module(self, spec):
        return PlaceholderModule(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, PlaceholderFinder())
for name in [name for name in sys.modules if name.partition('.')[0] not in ALLOWED]:
    del sys.modules[name]
content = runpy.run_path(sys.argv[1])
content['generate_launch_description']()
"""


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_imports_only_the_standard_library_and_launch(path):
    done = subprocess.run([sys.executable, '-c', LOAD, str(path)], capture_output=True, text=True,
                          cwd=Path(sys.modules['vla_ros'].__file__).parents[1])
    assert done.returncode == 0, done.stderr


def test_the_launch_files_are_those_of_the_documentation():
    assert {path.name for path in LAUNCH_FILES} == {
        'demo.launch.py', 'fleet.launch.py', 'transport.launch.py',
        'vla_inference.launch.py'}
