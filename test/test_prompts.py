# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

from goldens import GOLDENS
import pytest

from vla_ros.data.prompts import build_prompt
from vla_ros.data.prompts import choose_template


@pytest.mark.parametrize('row', GOLDENS['prompts'], ids=lambda row: row['prompt'][-40:])
def test_a_prompt_equals_the_official_one(row):
    assert build_prompt(row['template'], row['instruction']) == row['prompt']


def test_a_raw_prompt_is_the_instruction():
    assert build_prompt('raw', ' In: Move {left} ') == ' In: Move {left} '


def test_braces_in_an_instruction_are_kept():
    assert '{0} {cup}' in build_prompt('openvla', 'take {0} {cup}')


@pytest.mark.parametrize('name, backbone, template', [
    ('openvla/openvla-7b', 'llama2-7b-pure', 'openvla'),
    ('openvla/openvla-v01-7b', 'llama2-7b-pure', 'openvla-v01'),
    ('my-renamed-folder', 'vicuna-v15-7b', 'openvla-v01'),
])
def test_the_template_follows_the_checkpoint(name, backbone, template):
    assert choose_template(name, backbone) == template
