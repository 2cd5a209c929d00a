# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Any text of a launch argument reaches the node as the same string."""

import importlib.util
import os
import subprocess
import sys

from domains import next_domain
import pytest

launch = pytest.importorskip('launch', reason='launch comes with a ROS installation, not PyPI')
if not hasattr(launch, 'LaunchContext'):
    pytest.skip('this launch is not that of ROS', allow_module_level=True)
pytest.importorskip('launch_ros', reason='launch_ros comes with a ROS installation, not PyPI')

from vla_ros.util.share import find_share  # noqa: E402, I100

TEXTS = ['pick up the cup', '{a: b}', '- pick', 'yes', '12', '1e3', 'null', '~', 'pick: the cup',
         '"', "it's", '\\n', 'two\nlines', '\n  - a\n', ' spaces ', 'tab\there', '# no comment',
         '$(env HOME)', '$(var checkpoint)', '%', '!!int 3', '&a *b', '|-', 'x:=y', '杯子 🤖',
         'a\u2028b', 'a\u0085b', '\ufeffa', "' || touch x", '']

# Prints the value of the parameter, as rcl reads it.
READ = """
import sys, rclpy
rclpy.init(args=sys.argv)
node = rclpy.create_node('reader', automatically_declare_parameters_from_overrides=True)
print(ascii(node.get_parameter('text').value))
"""


def load():
    path = find_share() / 'launch' / 'vla_inference.launch.py'
    spec = importlib.util.spec_from_file_location('vla_inference_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['instruction', 'checkpoint', 'unnorm_key'])
@pytest.mark.parametrize('text', TEXTS)
def test_the_text_of_a_launch_argument_becomes_a_quoted_global_parameter(name, text):
    context = launch.LaunchContext()
    context.launch_configurations[name] = text
    action = load().text_parameter(name)
    if action.condition is None or action.condition.evaluate(context):
        action.execute(context)
    given = context.launch_configurations.get('global_params', [])
    assert [key for key, _ in given] == ([name] if text else [])
    assert all(isinstance(value, str) and value.startswith('"') for _, value in given)


@pytest.mark.parametrize('text', TEXTS[:-1])
def test_rcl_reads_the_same_text_as_was_quoted(text):
    context = launch.LaunchContext()
    context.launch_configurations['text'] = text
    quoted = load().QuotedArgument('text').perform(context)
    done = subprocess.run([sys.executable, '-c', READ, '--ros-args', '-p', f'text:={quoted}'],
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, 'ROS_DOMAIN_ID': str(next_domain())})
    assert done.stdout.strip() == ascii(text), done.stderr
