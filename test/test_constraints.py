# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The pinned versions can be installed together with the numpy of each ROS 2 distribution."""

from pathlib import Path
import subprocess
import sys

from packaging.requirements import Requirement
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'scripts'))
from constraints import constraints  # noqa: E402, I100

# Those that wheels of these packages are built for: pip looks each one up for every file.
PLATFORMS = [f'manylinux_2_{minor}_x86_64' for minor in (12, 17, 24, 26, 27, 28, 31, 34, 35)]


def pins(numpy, python):
    """Return name and version of every pin for a version of Python."""
    requirements = [Requirement(line) for line in constraints(numpy)]
    return {one.name: str(one.specifier) for one in requirements
            if one.marker is None or one.marker.evaluate({'python_version': python})}


def test_the_installed_numpy_is_kept_with_pins_that_work_beside_it():
    assert pins('1.24.2', '3.11')['numpy'] == '==1.24.2'
    assert pins('', '3.11')['numpy'] == '==2.4.6'
    # A new numpy replaces no other pin, an old one the pins that do not work beside it.
    newest = {**pins('', '3.11'), 'numpy': '==2.3.4'}
    assert pins('2.3.4', '3.11') == newest
    assert pins('1.22.0', '3.10')['matplotlib'] == '==3.8.4'
    assert pins('1.23.5', '3.11')['pin'] == '==2.6.20'
    assert pins('1.25.0', '3.12')['pin'] == '==2.7.0'


@pytest.mark.parametrize(('python', 'numpy'), [
    ('3.10', ''), ('3.10', '1.21.5'), ('3.11', '1.24.2'), ('3.12', '1.26.4'), ('3.14', '2.3.4')])
def test_pip_resolves_the_pinned_versions(python, numpy, tmp_path):
    # pip judges markers by the Python that runs it: they are judged here.
    lines = [f'{name}{version}' for name, version in pins(numpy, python).items()]
    tmp_path.joinpath('constraints.txt').write_text('\n'.join(lines))
    # The dependencies of torch are large, and none of them depends on numpy.
    wanted = (ROOT / 'requirements.txt').read_text().replace('\ntorch>=2.5\n', '\n')
    if numpy == '1.21.5':
        wanted = wanted.replace('\npin\n', '\n')  # from the distribution, as scripts/setup says
    tmp_path.joinpath('requirements.txt').write_text(wanted)
    done = subprocess.run(
        # pip compares requires-python with its own Python; the wheels' tags hold the same limits.
        [sys.executable, '-m', 'pip', 'install', '--dry-run', '--ignore-installed', '-q',
         '--ignore-requires-python', '--disable-pip-version-check', '--only-binary=:all:',
         '--python-version', python,
         '--implementation', 'cp', *(f'--platform={name}' for name in (
             *PLATFORMS, 'manylinux2014_x86_64', 'manylinux1_x86_64', 'any')),
         '--target', str(tmp_path / 'target'), '-c', str(tmp_path / 'constraints.txt'),
         '-r', str(tmp_path / 'requirements.txt')], capture_output=True, text=True)
    if 'from versions: none' in done.stderr:
        pytest.skip(f'the package index is not reached: {done.stderr.splitlines()[-1]}')
    assert done.returncode == 0, done.stdout + done.stderr
