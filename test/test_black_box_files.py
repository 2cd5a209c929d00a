# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The black box recognises its own files by name and content, and deletes no others."""

import pytest
from vla_ros.safety.black_box import encode
from vla_ros.safety.black_box import make_room
from vla_ros.safety.black_box_files import is_own

mcap_ros2 = pytest.importorskip(
    'mcap_ros2', reason='mcap is not installed: pip install mcap-ros2-support')

OWN = '2026-11-22T14-03-07.512345_hold_stale_image.mcap'


def foreign_bag(path, library='rosbag2'):
    """Write a bag as another program, or this project's demo, records it."""
    from mcap.writer import Writer
    writer = Writer(str(path))
    writer.start(profile='ros2', library=library)
    writer.add_metadata('rosbag2', {'a': 'b'})
    writer.finish()


def test_cleanup_deletes_only_black_boxes(tmp_path):
    foreign_bag(tmp_path / 'my_precious_bag.mcap')
    foreign_bag(tmp_path / '0000-00-00T00-00-00.000000_named_alike.mcap')
    foreign_bag(tmp_path / '2026-01-01T00-00-00.000000_ours_too.mcap', 'vla_ros')
    (tmp_path / '2026-01-01T00-00-00.000000_empty.mcap').touch()
    (tmp_path / '2026-01-01T00-00-00.000001_folder.mcap').mkdir()
    (tmp_path / 'kept_by_hand.mcap').write_bytes(encode([], 'HOLD'))
    (tmp_path / '2026-01-01T00-00-00.000002_link.mcap').symlink_to(tmp_path / 'kept_by_hand.mcap')
    before = set(tmp_path.iterdir())
    for second in range(3):
        (tmp_path / OWN.replace('-07', f'-0{second}')).write_bytes(encode([], 'HOLD'))
    make_room(tmp_path, 0)
    assert set(tmp_path.iterdir()) == before


def test_other_files_do_not_count_towards_the_disk_limit(tmp_path):
    (tmp_path / OWN).write_bytes(encode([], 'HOLD'))
    (tmp_path / 'large.mcap').write_bytes(bytes(10_000_000))
    make_room(tmp_path, 100_000)
    assert (tmp_path / OWN).exists()


@pytest.mark.parametrize('length', [0, 8, 12, 17, 30, 60, 70, 80])
def test_a_truncated_file_is_own_only_if_its_header_says_so(tmp_path, length):
    content = encode([], 'HOLD')
    path = tmp_path / OWN
    path.write_bytes(content)
    assert is_own(path)
    path.write_bytes(content[:length])
    assert is_own(path) == (b'vla_ros' in content[:length])
