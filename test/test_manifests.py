# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The manifests are valid, complete and readable for colcon."""

import ast
import importlib
from pathlib import Path
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

import vla_ros

ROOT = Path(__file__).parents[1]
MANIFESTS = ('package.xml', 'msg/package.xml')
#: The order that format 3 (REP 149) demands, though the parser that colcon uses takes any;
#: between author and group_depend come the dependencies, in any order.
HEAD = ('name', 'version', 'description', 'maintainer', 'license', 'url', 'author')
TAIL = ('group_depend', 'member_of_group', 'export')
SCHEMA = 'http://download.ros.org/schema/package_format3.xsd'

#: The rosdep key of each import that has another name.
ROSDEP_KEYS = {
    'PIL': 'python3-pil',
    'matplotlib': 'python3-matplotlib',
    'numpy': 'python3-numpy',
    'tqdm': 'python3-tqdm',
    'yaml': 'python3-yaml',
}
#: Packages of a requirements file; no rosdep key resolves them to a distribution's packages.
WITHOUT_KEY = {'anyio', 'av', 'bitsandbytes', 'flash_attn', 'h11', 'huggingface_hub', 'iceoryx2',
               'libero', 'mcap', 'mcap_ros2', 'msgpack', 'mujoco', 'peft', 'pyarrow', 'ray',
               'ruckig', 'safetensors', 'starlette', 'tokenizers', 'torch', 'transformers',
               'triton', 'uvicorn', 'vla_ros', 'vla_ros_msgs', 'websockets', 'zenoh',
               'zmq'}

#: Further packages of requirements-train.txt.
TRAINING = {'accelerate'}


def parse(manifest):
    """Read a manifest as colcon does; return the package and the warnings of the parser."""
    package = pytest.importorskip('catkin_pkg.package')
    warnings = []
    return package.parse_package(ROOT / manifest, warnings=warnings), warnings


def setup_argument(name):
    """Return the literal value of an argument in setup.py."""
    for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text())):
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f'setup.py does not give {name}')


def executables():
    return setup_argument('entry_points')['console_scripts']


def imports_of(folder):
    """Yield the top-level names that the Python files of a folder import anywhere."""
    for path in (ROOT / folder).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition('.')[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.partition('.')[0]


@pytest.mark.parametrize('manifest', MANIFESTS)
def test_colcon_reads_the_manifest_without_warnings(manifest):
    # With a manifest that it cannot read, colcon builds plain Python without a warning.
    _, warnings = parse(manifest)
    assert warnings == []


@pytest.mark.parametrize('manifest', MANIFESTS)
def test_elements_of_package_xml_are_in_the_order_of_the_schema(manifest):
    tags = [element.tag for element in ElementTree.parse(ROOT / manifest).getroot()]
    ranks = [HEAD.index(tag) if tag in HEAD else
             len(HEAD) + 1 + TAIL.index(tag) if tag in TAIL else len(HEAD) for tag in tags]
    assert ranks == sorted(ranks), tags


@pytest.mark.parametrize('manifest', MANIFESTS)
def test_the_manifest_conforms_to_the_schema(manifest):
    if shutil.which('xmllint') is None:
        pytest.skip('xmllint is not installed: sudo apt install libxml2-utils')
    done = subprocess.run(['xmllint', '--noout', '--schema', SCHEMA, str(ROOT / manifest)],
                          capture_output=True, text=True)
    if done.returncode == 5:
        pytest.skip(f'xmllint cannot fetch {SCHEMA}')
    assert done.returncode == 0, done.stderr


def test_all_versions_are_the_same():
    newest = re.search(r'^(\d+\.\d+\.\d+) \(', (ROOT / 'CHANGELOG.rst').read_text(), re.MULTILINE)
    assert newest is not None
    versions = {'vla_ros/__init__.py': vla_ros.__version__, 'CHANGELOG.rst': newest[1],
                'setup.py': setup_argument('version'),
                **{manifest: parse(manifest)[0].version for manifest in MANIFESTS}}
    assert len(set(versions.values())) == 1, versions


@pytest.mark.parametrize('executable', executables(), ids=lambda line: line.partition(' ')[0])
def test_an_entry_point_names_a_function_that_exists(executable):
    module, _, function = executable.partition('=')[2].strip().partition(':')
    if module == 'vla_ros.ros.node':
        pytest.importorskip('rclpy')
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize('manifest', MANIFESTS)
def test_no_rosdep_key_needs_pip(manifest):
    # rosdistro takes no package with such a key, and rosdep cannot install one under PEP 668.
    package, _ = parse(manifest)
    names = {one.name for one in package.exec_depends + package.build_depends
             + package.test_depends}
    assert names and not [name for name in names if name.endswith('-pip')]


@pytest.mark.parametrize('folder', ['vla_ros', 'launch'])
def test_every_import_is_a_declared_dependency(folder):
    package, _ = parse('package.xml')
    declared = {dependency.name for dependency in package.exec_depends}
    foreign = set(imports_of(folder)) - set(sys.stdlib_module_names) - WITHOUT_KEY - TRAINING
    assert {ROSDEP_KEYS.get(name, name) for name in foreign} - declared == set()
