# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""docs/api.md is complete, and equals what scripts/api_page.py writes."""

import importlib
from pathlib import Path
import runpy

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / 'scripts' / 'api_page.py'))


def test_the_api_page_is_up_to_date():
    assert (ROOT / 'docs/api.md').read_text() == SCRIPT['page'](), (
        'a public docstring has changed: run python scripts/api_page.py')


@pytest.mark.parametrize('module', ['vla_ros.policy.base', 'vla_ros.errors'])
def test_every_public_name_is_on_the_api_page(module):
    imported = importlib.import_module(module)
    public = [name for name, one in vars(imported).items()
              if not name.startswith('_') and getattr(one, '__module__', None) == module]
    page = SCRIPT['page']()
    assert public and [name for name in public if f'`{name}(' not in page
                       and f'`{name}`' not in page] == []


def test_every_field_of_the_policy_config_is_documented():
    names = importlib.import_module('vla_ros.policy.config').PolicyConfig.__dataclass_fields__
    page = SCRIPT['page']()
    undocumented = {name for name in names if f'* `{name}`:' not in page}
    # Closed sets, which vla_predict --help lists, and a callback.
    assert undocumented <= {'device', 'dtype', 'attention', 'quantization', 'progress'}
