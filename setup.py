# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Installs the package the way colcon's ament_python expects it."""

from pathlib import Path

from setuptools import find_packages
from setuptools import setup
from setuptools.command.develop import develop

package_name = 'vla_ros'


class Develop(develop):
    """
    What ``colcon build --symlink-install`` runs.

    It takes no notice of the executable that setup.cfg names for the scripts, and would write
    the path of the Python that runs colcon into them.
    """

    def write_script(self, script_name, contents, *args, **kwargs):
        _, _, rest = contents.partition('\n')
        super().write_script(script_name, f'#!/usr/bin/env python3\n{rest}', *args, **kwargs)


def share(*patterns):
    """List files for ``share/vla_ros``, each kept in the folder it has here."""
    folders = {}
    for path in sorted(path for pattern in patterns for path in Path().glob(pattern)):
        if path.is_file():
            folders.setdefault(f'share/{package_name}/{path.parent}', []).append(str(path))
    return list(folders.items())


setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(include=[package_name, f'{package_name}.*']),
    package_data={package_name: ['py.typed', 'server/panel/page/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
        *share('launch/*.launch.py', 'config/**/*', 'requirements*.txt', 'constraints.txt',
               'constraints/*', 'scripts/constraints.py'),
    ],
    cmdclass={'develop': Develop},
    # What pip brings is in requirements.txt: colcon builds with --no-deps, and a robot's torch is
    # seldom the one that pip would choose.
    install_requires=['setuptools'],
    python_requires='>=3.10',
    zip_safe=False,
    author='The vla_ros Authors',
    maintainer='Seed 22191028 maintainers',
    maintainer_email='maintainers@users.noreply.b-seed-22191028.example',
    description='Vision-Language-Action models on ROS 2 robots',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'vla_bench = vla_ros.cli.programs:vla_bench',
            'vla_dataset = vla_ros.cli.programs:vla_dataset',
            'vla_demo = vla_ros.cli.programs:vla_demo',
            'vla_doctor = vla_ros.cli.programs:vla_doctor',
            'vla_eval = vla_ros.cli.programs:vla_eval',
            'vla_inference_node = vla_ros.cli.programs:vla_inference_node',
            'vla_panel = vla_ros.cli.programs:vla_panel',
            'vla_predict = vla_ros.cli.programs:vla_predict',
            'vla_record = vla_ros.cli.programs:vla_record',
            'vla_serve = vla_ros.cli.programs:vla_serve',
            'vla_sim = vla_ros.cli.programs:vla_sim',
            'vla_teleop = vla_ros.cli.programs:vla_teleop',
            'vla_train = vla_ros.cli.programs:vla_train',
            'vla_transport = vla_ros.cli.programs:vla_transport',
        ],
    },
)
