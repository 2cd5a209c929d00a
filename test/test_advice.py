# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Messages and docs name only what exists.

This covers parameters, options, commands, services, files, pages and anchors.
"""

import ast
from functools import cache
from pathlib import Path
import re
import subprocess
import sys

import pytest
from vla_ros.control.parameters import PARAMETERS
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/*.md')])
SOURCES = sorted(ROOT.glob('vla_ros/**/*.py'))
COMMANDS = re.findall(r"'(vla_\w+) = ", (ROOT / 'setup.py').read_text())
#: Subcommands that have a --help of their own.
SUBCOMMANDS = {'vla_bench': ('model', 'node', 'serve', 'transport'),
               'vla_dataset': ('check', 'convert')}

#: First words of parameters that have a dot.
GROUPS = {one.name.partition('.')[0] for one in PARAMETERS if '.' in one.name}
NAMES = {one.name for one in PARAMETERS}
DOTTED = rf'(?<![\w./:-])((?:{"|".join(sorted(GROUPS))})(?:\.[a-z_]+)+)(?![\w(/-])'
#: Parameter names that a message completes with a value.
STEMS = {'image.frozen'}
#: Arguments of third-party tools, and placeholders.
FOREIGN_ARGUMENTS = {'open', 'closed', 'TOPIC'}
#: Third-party programs whose options a line may name beside ours.
FOREIGN_OPTIONS = re.compile(
    r'\b(colcon|pip|docker|git|hf|ros2|rosdep|python3?|torchrun|accelerate|pytest|nsys|ncu|sysctl|'
    r'apt|mount|container|patchelf|compute-sanitizer|openssl|venv|no-build-isolation)\b')


def strings(path):
    """Yield each string of a module except docstrings, with '{}' in place of values."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    docstrings = {id(node.body[0].value) for node in ast.walk(tree)
                  if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
                  and node.body and isinstance(node.body[0], ast.Expr)}
    inner = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
             for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield ''.join(value.value if isinstance(value, ast.Constant) else '{}'
                          for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) \
                and id(node) not in docstrings | inner and ' ' in node.value:
            yield node.value


def texts():
    """Yield every message and every paragraph of the docs, with its file."""
    for path in SOURCES:
        for text in strings(path):
            yield f'{path.relative_to(ROOT)}', ' '.join(text.split())
    for path in PAGES:
        for paragraph in path.read_text(encoding='utf-8').split('\n\n'):
            yield f'{path.relative_to(ROOT)}', paragraph


@cache
def help_of(*words):
    """Return what a command's --help prints."""
    code = (f'import sys; sys.argv = {list(words)!r} + ["--help"]\n'
            f'from vla_ros.cli import programs\nprograms.{words[0]}()')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def options_of(command):
    pages = [help_of(command), *(help_of(command, part) for part in SUBCOMMANDS.get(command, ()))]
    return set(re.findall(r'(?<![\w-])--[a-z][\w-]*', ' '.join(pages)))


@cache
def launch_arguments():
    text = ' '.join(path.read_text() for path in [*ROOT.glob('launch/*.py'),
                                                  ROOT / 'vla_ros/ros/launching.py'])
    return set(re.findall(r"DeclareLaunchArgument\(\s*'(\w+)'", text))


@cache
def literals():
    """Return every quoted word of the sources, which include the names of other nodes."""
    return {word for path in SOURCES
            for word in re.findall(r"'(?:~/)?([\w.]+)'", path.read_text())}


def test_parameters_named_in_messages_and_docs_exist():
    known = NAMES | {'.'.join(name.split('.')[:-1]) for name in NAMES if name.count('.') > 1}
    found = {(where, name) for where, text in texts()
             for name in re.findall(DOTTED, text)}
    assert len(found) > 100
    files = re.compile(r'\.(md|py|yaml|xml|json|npy|png|npz|txt|pt|urdf|safetensors|html|mcap)$')
    assert sorted((where, name) for where, name in found
                  if name.rstrip('_') not in known | STEMS and not files.search(name)) == []


def test_arguments_set_in_messages_and_docs_exist():
    known = NAMES | launch_arguments() | literals() | FOREIGN_ARGUMENTS
    found = {(where, name) for where, text in texts()
             for name in re.findall(r'(?<![\w./~{}:-])([a-z_][\w.]*):=', text)}
    assert len(found) > 30
    topics = re.compile(r'/')
    assert sorted((where, name) for where, name in found
                  if name not in known and not topics.search(name)
                  and not name.startswith('__')) == []


def test_options_after_a_command_in_messages_and_docs_belong_to_it():
    wrong, count = [], 0
    for where, text in texts():
        joined = text.replace('\\\n', ' ')
        for command, rest in re.findall(
                r'(?<![\w/.])(vla_(?:bench|dataset|demo|doctor|eval|panel|predict|record|serve|'
                r'train|transport))'
                r'((?:[ ](?:[^\s`|;()]+))*)', joined):
            for option in re.findall(r'(?<=[ \[])--[a-z][\w-]*', rest.partition(' vla_')[0]):
                count += 1
                if option not in options_of(command) | {'--ros-args', '--help'}:
                    wrong.append((where, command, option))
    assert count > 40
    assert wrong == []


def test_options_in_messages_belong_to_a_command():
    known = set().union(*(options_of(command) for command in COMMANDS
                          if command not in ('vla_sim', 'vla_inference_node')))
    # Of vla_sim, whose help needs a display's library or a benchmark.
    known |= {'--arms', '--controller', '--viewer', '--world'}
    known |= {'--ros-args', '--params-file', '--help'}
    wrong = [(where, option) for where, text in texts() if where.startswith('vla_ros/')
             and not where.startswith(('vla_ros/bench/gpu', 'vla_ros/evaluation/evaluator'))
             and not FOREIGN_OPTIONS.search(text)
             for option in re.findall(r'(?<![\w-])--[a-z][\w-]*', text) if option not in known]
    assert wrong == []


def test_commands_and_scripts_named_in_messages_and_docs_exist():
    scripts = {path.name for path in (ROOT / 'scripts').iterdir()}
    for where, text in texts():
        for name in re.findall(r'(?<![\w/-])(?:\./)?scripts/([\w.]+\w)', text):
            assert name in scripts, (where, name)
        for name in re.findall(r'ros2 run vla_ros (\w+)', text):
            assert name in COMMANDS, (where, name)
        for name in re.findall(r'ros2 launch vla_ros (\S+\.py)', text):
            assert (ROOT / 'launch' / name).is_file(), (where, name)


def test_services_named_in_messages_and_docs_exist():
    assert {'rearm', 'hold'} <= literals()
    ours = {name for where, text in texts() for name in re.findall(r'(?<![\w`])~/(\w+)', text)
            if not where.endswith('quality.md')}
    # Topics of ros2_controllers and MoveIt Servo, and folders of the user.
    assert ours - literals() <= {'joint_trajectory', 'commands', 'delta_twist_cmds', 'ws', 'robot'}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_of_docs_have_a_target(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text(encoding='utf-8')):
        if '://' in target:
            continue
        name, _, anchor = target.partition('#')
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(file):
    headings = re.findall(r'^#+ (.+)$', file.read_text(encoding='utf-8'), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_files_named_in_messages_and_docs_exist():
    for where, text in texts():
        for name in re.findall(r'(?<![\w/.-])((?:docs|test|config|vla_ros|msg|launch)/[\w/.-]+\.'
                               r'(?:md|py|yaml|xml|json|urdf|msg))', text):
            assert (ROOT / name).exists(), (where, name)
        for name in re.findall(r'\brequirements[\w-]*\.txt', text):
            assert (ROOT / name).exists(), (where, name)


def test_settings_files_in_docs_are_valid_yaml():
    blocks = [(page.name, block) for page in PAGES for block in
              re.findall(r'```yaml\n(.*?)```', page.read_text(encoding='utf-8'), re.DOTALL)]
    assert blocks
    for name, block in blocks:
        assert isinstance(yaml.safe_load(block), dict), name
