# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The example policy of docs/own_policy.md, in Python and in the node."""

import os
from pathlib import Path
import re
import sys

import numpy as np
import pytest

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy

PAGE = Path(__file__).parents[1] / 'docs' / 'own_policy.md'


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write the code of the page to a folder on the path of Python."""
    code = re.search('```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.DOTALL)[1]
    (tmp_path / 'my_policy.py').write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop('my_policy', None)


def test_the_policy_of_the_documentation_can_be_loaded_and_infers(module):
    policy = load_policy(PolicyConfig(policy='my_policy:make'))
    chunk = policy.infer(Observation((np.full((4, 4, 3), 51, np.uint8),), 'wave'))
    assert chunk.actions[0].tolist() == pytest.approx([0.2, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(('kind', 'problem'), [
    ('my_policy:nothing', 'my_policy has no function nothing'),
    ('no_such_module:make', 'no_such_module'),
    ('my_policy.inner:make', 'my_policy.inner')])
def test_a_missing_factory_is_named(module, kind, problem):
    with pytest.raises(UnsupportedError, match=problem):
        load_policy(PolicyConfig(policy=kind))


@pytest.mark.parametrize('kind', ['', 'Local', 'my_policy', 'my_policy:', ':make',
                                  'my policy:make', 'my_policy:make()', '../my_policy:make',
                                  'a:b:c'])
def test_an_invalid_policy_factory_is_refused(kind):
    with pytest.raises(ParameterError, match='package.module:function'):
        PolicyConfig(policy=kind)


@pytest.mark.parametrize('code', ['def make(config): return None', 'def make(config): return 3',
                                  'make = 3', 'class make:\n    def __init__(self, c): pass'])
def test_a_factory_that_returns_no_policy_is_refused(module, code):
    (module / 'my_policy.py').write_text(code)
    with pytest.raises(UnsupportedError, match='my_policy:make: .*infer and reset'):
        load_policy(PolicyConfig(policy='my_policy:make'))


def test_the_node_runs_a_user_policy(module, monkeypatch):
    pytest.importorskip('rclpy')
    from domains import next_domain
    from node_harness import NodeProcess
    from node_harness import Observer
    from node_harness import camera_image
    paths = [str(module), *filter(None, [os.environ.get('PYTHONPATH')])]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(paths))
    domain = next_domain()
    observer = Observer(domain)
    node = NodeProcess(domain, 'real', {'policy': 'my_policy:make', 'instruction': 'wave'})
    try:
        observer.wait_for_state('WAITING', node)
        observer.wait_for_match(observer.camera, node)
        observer.poll(lambda: observer.show(camera_image(51)) or observer.commands, 'a command',
                      node)
        assert observer.commands[-1].position[0] == pytest.approx(0.2, abs=0.2)
        assert list(observer.commands[-1].name[:3]) == ['x', 'y', 'z']
    finally:
        observer.close()
        node.end()
