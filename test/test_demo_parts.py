# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The parts of the demo that need no ROS: tokenizer, checkpoint, photographs, record, display."""

from concurrent.futures import ThreadPoolExecutor
import io
import json

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
import numpy as np
from PIL import Image
import pytest
from tokenizers import Tokenizer

from vla_ros.demo import photos
from vla_ros.demo.checkpoint import checkpoint_folder
from vla_ros.demo.checkpoint import ensure_checkpoint
from vla_ros.demo.display import LiveLine
from vla_ros.demo.display import summarize
from vla_ros.demo.environment import demo_environment
from vla_ros.demo.photos import find_photos
from vla_ros.demo.photos import PhotoTour
from vla_ros.demo.photos import read_photo
from vla_ros.demo.record import Command
from vla_ros.demo.record import Record
from vla_ros.demo.tokenizer import INSTRUCTIONS
from vla_ros.demo.tokenizer import text_pieces
from vla_ros.demo.tokenizer import write_tokenizer
from vla_ros.errors import ImageError
from vla_ros.errors import UnsupportedError
from vla_ros.policy import load_policy
from vla_ros.policy import Observation
from vla_ros.policy import PolicyConfig


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
def test_any_text_survives_the_tokenizer_and_contains_no_action(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert ids[0] == 1
    assert max(ids) < len(text_pieces())
    assert tokenizer.decode(ids[1:]) == text


@pytest.mark.parametrize('instruction', INSTRUCTIONS)
def test_each_word_of_an_instruction_is_one_token(tokenizer, instruction):
    tokens = tokenizer.encode(instruction).tokens
    assert tokens == ['<s>', *(f'▁{word}' for word in instruction.split())]


def test_the_lone_space_that_ends_a_prompt_has_an_id(tokenizer):
    assert tokenizer.encode('cup ').ids[-1] == tokenizer.token_to_id('▁')


def test_the_checkpoint_answers_everything_with_actions(policy):
    tour = PhotoTour([read_photo(path) for path in [*find_photos()]])
    answers = {
        instruction: [policy.infer(Observation((tour.frame(time),), instruction)).token_ids
                      for time in (0.0, 1.0, 2.0, 5.5, 7.0)]
        for instruction in INSTRUCTIONS}
    # An invalid action would have raised. What is left to show: both inputs matter.
    for times in answers.values():
        assert len(set(times)) >= 4
    assert len({tuple(times) for times in answers.values()}) == len(INSTRUCTIONS)


def test_the_checkpoint_is_written_once(tmp_path):
    folder = tmp_path / 'cache' / 'checkpoint'
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ensure_checkpoint, [folder] * 4)) == {folder}
    assert [path.name for path in folder.parent.iterdir()] == ['checkpoint']
    written = (folder / 'model.safetensors').stat()
    assert ensure_checkpoint(folder) == folder
    assert (folder / 'model.safetensors').stat().st_mtime_ns == written.st_mtime_ns
    assert json.loads((folder / 'config.json').read_text())['model_type'] == 'openvla'


def test_the_cache_follows_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert checkpoint_folder().parent == tmp_path / 'vla_ros'


def test_a_tour_moves_over_every_photograph():
    pictures = [Image.fromarray(np.full((300, 451, 3), shade, np.uint8)) for shade in (10, 200)]
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (90, 1))).convert('RGB')
    tour = PhotoTour([*pictures, ramp], width=64, height=48)
    frames = [tour.frame(time) for time in np.arange(0.0, 30.0, 0.1)]
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert {frames[i].mean() for i in (0, 49, 50, 99)} == {10.0, 200.0}
    # To and fro: half of the views differ from all others.
    assert len({frame.tobytes() for frame in frames[100:150]}) >= 25
    assert np.array_equal(frames[0], frames[150])


def test_missing_photographs_are_named_with_the_way_to_get_them(monkeypatch):
    monkeypatch.setattr(photos.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UnsupportedError, match='pip install --no-deps scikit-image'):
        find_photos()


def test_a_file_that_is_no_photograph_is_refused(tmp_path):
    (tmp_path / 'text.png').write_text('not an image')
    with pytest.raises(ImageError, match='text.png'):
        read_photo(tmp_path / 'text.png')
    with pytest.raises(ImageError, match='absent.png'):
        read_photo(tmp_path / 'absent.png')


def a_record():
    """Return ten commands a tenth of a second apart, the instruction changed at 100.45 s."""
    record = Record()
    record.add_instruction(99.0, 'wave')
    record.add_instruction(100.45, 'stop')
    for i in range(10):
        taken = 100.0 + 0.1 * i
        record.add_command(Command(taken, taken + 0.02 + 0.001 * i, ('x',), (float(i // 2),)))
    return record


def test_a_record_measures_rate_and_latency():
    record = a_record()
    assert record.rate() == pytest.approx(9 / 0.909)
    assert record.latencies_ms([0, 50, 100]) == pytest.approx([20.0, 24.5, 29.0])
    assert record.recent_rate(now=100.93, seconds=0.5) == pytest.approx(10.0)
    assert record.recent_rate(now=200.0) == 0.0


def test_a_command_belongs_to_the_instruction_under_which_its_image_was_taken():
    assert a_record().commands_by_instruction() == [('wave', 5, 3), ('stop', 5, 3)]


def test_the_summary_holds_the_figures():
    node = {'device': 'cpu', 'dtype': 'float32', 'attention': 'sdpa: no GPU',
            'camera rate [Hz]': '29.50'}
    text = summarize(a_record(), 30, 1.0, node, 'rmw_x, ROS domain 7')
    for words in ('30 (30.0 Hz', 'at 29.50 Hz', '10 (9.9 Hz)', 'p50 24.5 ms', 'p99 28.9 ms',
                  'cpu, float32, attention sdpa', "5  'stop' (3 different)"):
        assert words in text
    assert len(text.splitlines()) < 24


def test_away_from_a_terminal_no_line_is_rewritten():
    stream = io.StringIO()
    line = LiveLine(stream)
    for text in ('a', 'b', 'c'):
        line.show(text)
    line.print('end')
    assert stream.getvalue() == 'a\nend\n'


def test_on_a_terminal_one_line_is_rewritten(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, 'isatty', lambda: True)
    monkeypatch.setenv('COLUMNS', '10')
    line = LiveLine(stream)
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
def test_the_demo_stays_on_this_machine_unless_the_user_says_otherwise(environment, added):
    additions = demo_environment(environment)
    assert {name: value for name, value in additions.items() if 'LOCALHOST' in name + value} \
        == added


def test_what_the_user_has_set_stays():
    assert not demo_environment({
        'OMP_WAIT_POLICY': 'ACTIVE', 'FASTRTPS_DEFAULT_PROFILES_FILE': '/mine.xml',
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SYSTEM_DEFAULT'})


@pytest.mark.parametrize(('distribution', 'variable'), [
    ('humble', 'FASTRTPS_DEFAULT_PROFILES_FILE'), ('jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
    ('kilted', 'FASTDDS_DEFAULT_PROFILES_FILE'), ('', 'FASTDDS_DEFAULT_PROFILES_FILE')])
def test_the_profile_is_named_as_the_distribution_wants_it(distribution, variable):
    added = demo_environment({'ROS_DISTRO': distribution})
    assert added[variable].endswith('config/fastdds.xml')
    assert sum(name.endswith('PROFILES_FILE') for name in added) == 1
