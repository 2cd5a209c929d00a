# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Modules of the demo that need no ROS: tokenizer, checkpoint, record, display."""

from concurrent.futures import ThreadPoolExecutor
import io
import json

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
import numpy as np
import pytest
from tokenizers import Tokenizer

from vla_ros.demo.display import describe_attempt
from vla_ros.demo.display import StatusLine
from vla_ros.demo.display import summarize
from vla_ros.demo.record import Attempt
from vla_ros.demo.record import InferenceResult
from vla_ros.demo.record import Record
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.transport.local_environment import demo_environment
from vla_ros.util.demo_checkpoint import checkpoint_folder
from vla_ros.util.demo_checkpoint import ensure_checkpoint
from vla_ros.util.tiny_tokenizer import INSTRUCTIONS
from vla_ros.util.tiny_tokenizer import text_pieces
from vla_ros.util.tiny_tokenizer import write_tokenizer


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tokenizer')
    write_tokenizer(folder, 256)
    return Tokenizer.from_file(str(folder / 'tokenizer.json'))


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    pytest.importorskip('torch')
    folder = ensure_checkpoint(tmp_path_factory.mktemp('cache') / 'checkpoint')
    return load_policy(PolicyConfig(str(folder), device='cpu'))


# The names of special tokens begin with the first, and the second stands for a space.
@given(text=strategies.text(strategies.characters(exclude_categories=['Cs'],
                                                  exclude_characters='<▁'), max_size=80))
@settings(max_examples=300, deadline=None)
def test_the_tokenizer_restores_any_text_and_gives_it_no_action_tokens(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert ids[0] == 1
    assert max(ids) < len(text_pieces())
    assert tokenizer.decode(ids[1:]) == text


@pytest.mark.parametrize('instruction', INSTRUCTIONS)
def test_each_word_of_an_instruction_is_one_token(tokenizer, instruction):
    tokens = tokenizer.encode(instruction).tokens
    assert tokens == ['<s>', *(f'▁{word}' for word in instruction.split())]


def test_the_space_that_ends_a_prompt_is_a_token(tokenizer):
    assert tokenizer.encode('cup ').ids[-1] == tokenizer.token_to_id('▁')


def test_predictions_of_the_checkpoint_are_actions_that_depend_on_image_and_instruction(policy):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    images = images.repeat(40, axis=1).repeat(40, axis=2)
    tokens_by_instruction = {
        instruction: [policy.infer(Observation((image,), instruction)).token_ids
                      for image in images]
        for instruction in INSTRUCTIONS}
    # An invalid action would have raised. Both inputs change the result.
    for times in tokens_by_instruction.values():
        assert len(set(times)) >= 4
    assert len({tuple(times) for times in tokens_by_instruction.values()}) == len(INSTRUCTIONS)


def test_the_checkpoint_is_written_once(tmp_path):
    folder = tmp_path / 'cache' / 'checkpoint'
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ensure_checkpoint, [folder] * 4)) == {folder}
    assert [path.name for path in folder.parent.iterdir()] == ['checkpoint']
    written = (folder / 'model.safetensors').stat()
    assert ensure_checkpoint(folder) == folder
    assert (folder / 'model.safetensors').stat().st_mtime_ns == written.st_mtime_ns
    assert json.loads((folder / 'config.json').read_text())['model_type'] == 'openvla'


def test_the_checkpoint_is_cached_below_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert checkpoint_folder().parent == tmp_path / 'vla_ros'


def make_record():
    """Return ten results, 0.1 s apart, of two instructions, the second of which fails."""
    return Record(
        attempts=[Attempt('wave', True, 'red', 100.0, 0.5),
                  Attempt('stop', False, '', 100.5, 0.5)],
        results=[InferenceResult(100.0 + 0.1 * i, 0.02 + 0.001 * i, 'wave' if i < 5 else 'stop',
                                 (i,), {}) for i in range(10)])


def test_a_record_gives_rate_ages_result_and_instruction_of_a_time():
    record = make_record()
    assert record.rate() == pytest.approx(10.0)
    assert record.ages_ms((0, 50, 100)) == pytest.approx([20.0, 24.5, 29.0])
    assert record.result_at(99.0) is None
    assert record.result_at(100.35).tokens == (3,)
    assert record.attempt_at(100.2).instruction == 'wave'
    assert record.attempt_at(102.0) is None


def test_the_summary_holds_counts_rates_and_ages():
    node = {'device': 'cpu', 'dtype': 'float32', 'attention': 'sdpa: no GPU'}
    text = summarize(make_record(), node, 4.0, 'rmw_x, ROS domain 7')
    for part in ('1 of 2 instructions fulfilled, 1 s of the arm in 4 s', '10 (10.0 Hz)',
                 'p50 24 ms, p99 29 ms', 'cpu, float32, attention sdpa'):
        assert part in text
    assert len(text.splitlines()) < 24


def test_a_failed_instruction_is_reported_with_the_block_that_was_moved():
    assert describe_attempt(Attempt('push the red block', False, 'blue', 0.0, 3.0)).endswith(
        'it happened to the blue block')
    assert 'given up after 15 s' in describe_attempt(Attempt('wave', False, '', 0.0, 15.0))


def test_output_to_a_file_rewrites_no_line():
    stream = io.StringIO()
    line = StatusLine(stream)
    for text in ('a', 'b', 'c'):
        line.show(text)
    line.print('end')
    assert stream.getvalue() == 'a\nend\n'


def test_output_to_a_terminal_rewrites_one_line(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, 'isatty', lambda: True)
    monkeypatch.setenv('COLUMNS', '10')
    line = StatusLine(stream)
    line.show('0123456789abcdef')
    line.print('end')
    monkeypatch.setattr(line, '_last', 0.0)
    line.show('new')
    assert stream.getvalue() == '\r\x1b[K012345678\nend\n\r\x1b[Knew'


@pytest.mark.parametrize(('environment', 'added'), [
    ({}, {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}),
    ({'ROS_DISTRO': 'kilted', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'},
     {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SYSTEM_DEFAULT'}, {}),
    ({'ROS_DISTRO': 'humble'}, {'ROS_LOCALHOST_ONLY': '1'}),
    ({'ROS_DISTRO': 'humble', 'ROS_LOCALHOST_ONLY': '0'}, {}),
])
def test_the_demo_limits_discovery_to_this_machine_unless_the_user_sets_it(environment, added):
    additions = demo_environment(environment)
    assert {name: value for name, value in additions.items() if 'LOCALHOST' in name + value} \
        == added


def test_environment_variables_of_the_user_are_kept():
    assert not demo_environment({
        'OMP_WAIT_POLICY': 'ACTIVE', 'FASTRTPS_DEFAULT_PROFILES_FILE': '/mine.xml',
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SYSTEM_DEFAULT'})


@pytest.mark.parametrize(('distribution', 'variable'), [
    ('humble', 'FASTRTPS_DEFAULT_PROFILES_FILE'), ('jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
    ('kilted', 'FASTDDS_DEFAULT_PROFILES_FILE'), ('', 'FASTDDS_DEFAULT_PROFILES_FILE')])
def test_the_dds_profile_is_set_in_the_variable_of_the_distribution(distribution, variable):
    added = demo_environment({'ROS_DISTRO': distribution})
    assert added[variable].endswith('config/fastdds.xml')
    assert sum(name.endswith('PROFILES_FILE') for name in added) == 1
