# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What to do about a Python package that is not installed: which file lists it, which command."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
import re
import shlex
import sys
import sysconfig
from xml.etree import ElementTree

from vla_ros.errors import UnsupportedError
from vla_ros.util.share import find_share

_REQUIREMENTS = ('requirements.txt', 'requirements-serve.txt', 'requirements-train.txt',
                 'requirements-gpu.txt')
#: The distribution of each import that is called something else.
_DISTRIBUTIONS = {'PIL': 'pillow', 'anyio': 'starlette', 'flash_attn': 'flash-attn',
                  'h11': 'uvicorn', 'mcap': 'mcap-ros2-support', 'mcap_ros2': 'mcap-ros2-support',
                  'pinocchio': 'pin', 'yaml': 'pyyaml', 'zenoh': 'eclipse-zenoh', 'zmq': 'pyzmq'}


def missing_package(what: str, missing: ImportError | str) -> UnsupportedError:
    """
    Make the error about a package that cannot be imported.

    :param what: what needs it.
    :param missing: how its import failed, or its name.
    :raises ImportError: it is a module of this package, whose absence is a fault of ours.
    """
    module = missing if isinstance(missing, str) else missing.name or ''
    name = module.partition('.')[0]
    if not isinstance(missing, str) and name in ('', 'vla_ros'):
        raise missing
    package = _DISTRIBUTIONS.get(name, name)
    problem = f'is not installed for {sys.executable}'
    if not isinstance(missing, (str, ModuleNotFoundError)):
        problem = f'cannot be imported by {sys.executable} ({" ".join(str(missing).split())})'
    if name in _ros_packages():
        return UnsupportedError(what, f'the ROS 2 package {name} {problem}', _ros_remedy(name))
    requirements = next((file for file in _REQUIREMENTS if package in _listed(file)), None)
    command = (install_command(requirements) if requirements else
               f'{_python()} -m pip install {package}')
    return UnsupportedError(what, f'the Python package {package} {problem}', f'run: {command}')


def install_command(requirements: str = 'requirements.txt') -> str:
    """
    Return the bash line that installs what a requirements file lists, for this Python.

    It keeps the numpy that is there, for which the messages of a ROS installation were compiled,
    and the ROS installation's pinocchio.
    """
    share, python = find_share(), _python()
    options, file = '', shlex.quote(str(share / requirements))
    try:
        numpy = version('numpy')
    except PackageNotFoundError:
        numpy = ''
    # PyPI has no pinocchio for the numpy of Humble.
    if requirements == 'requirements.txt' and (
            _is_there('pinocchio') or numpy.startswith(('1.21.', '1.22.'))):
        file = f'<(grep -vx pin {file})'
    if requirements == 'requirements-gpu.txt':
        options = '--no-build-isolation '
    script = shlex.quote(str(share / 'scripts' / 'constraints.py'))
    before = ''
    if _is_managed_by_the_system():
        before = f'{python} -m venv --system-site-packages env && source env/bin/activate && '
        python = 'python3'
    return (f'{before}{python} -m pip install {options}-r {file} '
            f'-c <({" ".join((python, script, numpy)).strip()})')


def _python() -> str:
    return shlex.quote(sys.executable)


def _is_managed_by_the_system() -> bool:
    """Whether pip refuses to install outside of a virtual environment (PEP 668)."""
    return (sys.prefix == sys.base_prefix
            and Path(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED').exists())


def _listed(requirements: str) -> set[str]:
    text = (find_share() / requirements).read_text(encoding='utf-8')
    return {re.split(r'[\s<>=!;\[]', line, maxsplit=1)[0]
            for line in text.splitlines() if line[:1].isalpha()}


def _ros_packages() -> set[str]:
    """Return the packages that the manifest takes from ROS."""
    root = ElementTree.parse(find_share() / 'package.xml').getroot()
    names = {(element.text or '').strip() for element in root.iter('exec_depend')}
    return {name for name in names if not name.startswith('python3-')} - {'pinocchio'}


def _ros_remedy(name: str) -> str:
    if _is_there('rclpy'):
        return f'run: sudo apt install ros-$ROS_DISTRO-{name.replace("_", "-")}'
    return ('source the setup.bash of a ROS 2 installation and use its Python, or run '
            './scripts/setup in the checkout of vla_ros')


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # something put None in its place
        return False
