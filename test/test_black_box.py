# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The black box can be read back, stays within its limits and survives a full disk."""

import logging
import time

import numpy as np
import pytest
from vla_ros.cli import doctor
from vla_ros.errors import ParameterError
from vla_ros.policy.base import ActionChunk
from vla_ros.safety import black_box
from vla_ros.safety.black_box import BlackBox
from vla_ros.safety.black_box import BlackBoxSettings
from vla_ros.safety.timeline import BlackBoxError
from vla_ros.safety.timeline import render
from vla_ros.safety.timeline import timeline

pytest.importorskip('mcap_ros2', reason='mcap is not installed: pip install mcap-ros2-support')

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def chunk():
    """Return a chunk with a value in each field."""
    return ActionChunk(np.full((1, 7), 0.25), np.zeros((1, 7)), tuple(range(7)), tuple(range(7)),
                       np.full(7, 1.5, np.float32), 'In: what?', (1, 2), {'prefill': 12.5})


def fill(box, seconds):
    """Record frames, results and joint commands for so many seconds, then a hold."""
    for index in range(seconds):
        now = START + index * SECOND
        image = np.full((480, 640, 3), (index * 10) % 256, np.uint8)
        box.frame(now, now - SECOND // 20, 'camera', image)
        box.result(now, now - SECOND // 20, chunk())
        for tick in range(50):
            moment = now + tick * SECOND // 100
            box.joints(moment, '/arm/joint_command', ['a', 'b'], [0.1, index], [0.0, 1.0])
    box.event(START + seconds * SECOND, 'HOLD: stale image', 'warning')


def wait_for_files(box, count):
    """Wait until so many files are written."""
    deadline = time.monotonic() + 20.0
    while len(box.written) < count:
        assert time.monotonic() < deadline, 'no file was written'
        time.sleep(0.005)
    return box.written


@pytest.fixture
def box(tmp_path):
    box = BlackBox(BlackBoxSettings(tmp_path / 'boxes', seconds=5.0, pause=0.0))
    yield box
    box.close(5.0)


def test_a_black_box_can_be_read_back(box):
    fill(box, 10)
    box.write('HOLD: stale image')
    moments, image = timeline(wait_for_files(box, 1)[0])
    assert moments[-1].text == 'HOLD: stale image' and moments[-1].seconds == 0.0
    assert moments[0].seconds >= -5.0
    assert [moment.seconds for moment in moments] == sorted(m.seconds for m in moments)
    assert {moment.what for moment in moments} == {'event', 'frame', 'result',
                                                   '/arm/joint_command'}
    result = next(moment.text for moment in moments if moment.what == 'result')
    assert '[0, 1, 2, 3, 4, 5, 6]' in result and '1.5' in result and 'prefill 12.5' in result
    assert 'b 9.000' in [m.text for m in moments if m.what == '/arm/joint_command'][-1]
    assert max(image.shape) <= 160 and abs(int(image.mean()) - 90) <= 1


def test_a_black_box_holds_ros_messages_for_any_mcap_reader(box):
    from mcap.reader import make_reader
    fill(box, 2)
    box.write('ESTOP')
    with wait_for_files(box, 1)[0].open('rb') as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        assert reader.get_header().profile == 'ros2'
    kinds = {summary.channels[i].topic: summary.schemas[summary.channels[i].schema_id].name
             for i in summary.channels}
    assert kinds[black_box.FRAMES] == 'sensor_msgs/msg/CompressedImage'
    assert kinds[black_box.EVENTS] == 'rcl_interfaces/msg/Log'
    assert {summary.schemas[i].encoding for i in summary.schemas} == {'ros2msg'}


def test_the_oldest_black_boxes_are_deleted_above_the_disk_limit(tmp_path):
    box = BlackBox(BlackBoxSettings(tmp_path, disk_mb=0.05, pause=0.0))
    random = np.random.default_rng(0)
    for count in range(1, 7):
        now = START + count * SECOND
        box.frame(now, now, 'camera', random.integers(0, 255, (120, 160, 3), np.uint8))
        box.write(f'HOLD {count}')
        wait_for_files(box, count)
    box.close(5.0)
    left = sorted(tmp_path.iterdir())
    assert 0 < len(left) < 6 and left[-1] == box.written[-1]
    assert sum(path.stat().st_size for path in left[:-1]) <= 50_000


def test_a_full_disk_is_logged_and_survived(tmp_path, caplog):
    settings = BlackBoxSettings(tmp_path / 'boxes', pause=0.0)
    box = BlackBox(settings)
    fill(box, 1)
    (tmp_path / 'boxes').symlink_to('/dev/full')  # a folder that cannot be made
    with caplog.at_level(logging.INFO, 'vla_ros'):
        box.write('HOLD')
        deadline = time.monotonic() + 10.0
        while not caplog.records:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        (tmp_path / 'boxes').unlink()
        box.write('ESTOP')
        wait_for_files(box, 1)
    box.close(5.0)
    assert 'no black box was written' in caplog.text


def test_rapid_state_changes_do_not_fill_the_disk(tmp_path):
    box = BlackBox(BlackBoxSettings(tmp_path, pause=30.0))
    for count in range(200):
        fill(box, 1)
        box.write(f'HOLD {count}')
    wait_for_files(box, 1)
    box.close(10.0)
    assert len(box.written) <= 2  # the first at once, the last when it was closed


def test_memory_is_bounded_in_a_flood_of_records():
    box = BlackBox(BlackBoxSettings(None, seconds=1e6))
    for _ in range(30_000):
        box.joints(START, '/joint_states', ['a'], [0.0])
    assert len(box._records) == 20_000
    box.close(1.0)


@pytest.mark.parametrize('content', [b'', b'no mcap', b'\x89MCAP0\r\n' + bytes(100)])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / 'x.mcap'
    path.write_bytes(content)
    with pytest.raises(BlackBoxError, match='x.mcap'):
        timeline(path)


def test_a_missing_file_and_invalid_settings_are_named(tmp_path):
    with pytest.raises(BlackBoxError, match='No such file'):
        timeline(tmp_path / 'y.mcap')
    with pytest.raises(ParameterError, match='black_box.seconds'):
        BlackBoxSettings(tmp_path, seconds=0.0)


def test_the_doctor_prints_the_timeline(box, capsys):
    fill(box, 3)
    box.write('HOLD: stale image')
    path = wait_for_files(box, 1)[0]
    assert doctor.main(['--blackbox', str(path)]) == 0
    output = capsys.readouterr().out
    for part in ('0.000 s  event', 'HOLD: stale image', 'the last image'):
        assert part in output
    assert doctor.main(['--blackbox', str(path.with_name('no.mcap'))]) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.count('\n') == 1


def test_an_image_is_rendered_as_text_and_in_colours():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 255
    rows = render(image, 20, False).splitlines()
    assert len(rows) == 5 and rows[0][0] == ' ' and rows[0][-1] == '@'
    assert '\x1b[38;2;0;0;0;48;2;0;0;0m' in render(image, 20, True)
