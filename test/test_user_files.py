# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Files of the user are neither overwritten nor deleted."""

import os

import pytest
from vla_ros.demo.outputs import check_own
from vla_ros.demo.outputs import MCAP_MARK
from vla_ros.demo.outputs import OutputError
from vla_ros.demo.outputs import REPORT_MARK
from vla_ros.demo.record import Record
from vla_ros.demo.report import write_report
from vla_ros.transport.orphans import remove_orphans


def test_the_demo_overwrites_only_its_own_files(tmp_path):
    report, mcap = tmp_path / 'report.html', tmp_path / 'episode.mcap'
    check_own(report, REPORT_MARK)
    report.write_text('<html><title>my thesis</title></html>', encoding='utf-8')
    with pytest.raises(OutputError, match='report.html is there already'):
        check_own(report, REPORT_MARK)
    mcap.touch()
    check_own(mcap, MCAP_MARK)
    mcap.write_bytes(b'\x89MCAP0\r\n somebody else')
    with pytest.raises(OutputError, match='--out another'):
        check_own(mcap, MCAP_MARK)


def test_the_demo_recognises_its_own_report(tmp_path):
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    write_report(tmp_path / 'report.html', Record(), 'summary')
    check_own(tmp_path / 'report.html', REPORT_MARK)


def test_the_demo_recognises_its_own_recording(tmp_path):
    pytest.importorskip('mcap', reason='mcap is not installed')
    pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
    from vla_ros.demo.mcap_file import McapFile
    with McapFile(tmp_path / 'episode.mcap'):
        pass
    check_own(tmp_path / 'episode.mcap', MCAP_MARK)


def test_demonstrations_are_recorded_only_into_an_empty_folder(tmp_path, capsys):
    pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    pytest.importorskip('mujoco', reason='mujoco is not installed')
    pytest.importorskip('torch', reason='torch is not installed')
    from vla_ros.cli import train
    mine = tmp_path / 'data' / 'chunk-000' / 'file-000.parquet'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b'mine')
    assert train.main(['--record', str(tmp_path), '--episodes', '1']) == 2
    assert mine.read_bytes() == b'mine'
    assert 'it must be a new or an empty folder' in capsys.readouterr().err


def test_a_training_does_not_overwrite_another_checkpoint(tmp_path):
    pytest.importorskip('torch', reason='torch is not installed')
    from vla_ros.training.resumable import check_folder
    from vla_ros.training.resumable import STATE_FILE
    from vla_ros.training.resumable import TrainingError
    check_folder(tmp_path / 'new')
    (tmp_path / 'model.safetensors').write_bytes(b'mine')
    with pytest.raises(TrainingError, match='holds model.safetensors'):
        check_folder(tmp_path)
    (tmp_path / STATE_FILE).touch()
    check_folder(tmp_path)


def test_shared_memory_with_similar_names_is_not_removed(tmp_path):
    for name in ('fastdds_my_calibration_el', 'fastdds_my_calibration',
                 'fastdds_0123456789ABCDEF_el'):
        (tmp_path / name).write_bytes(b'mine')
        os.utime(tmp_path / name, (0, 0))
    assert remove_orphans(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_shipping_a_checkpoint_overwrites_no_other_folder(tmp_path):
    pytest.importorskip('safetensors', reason='safetensors is not installed')
    from vla_ros.training.card import _check_out
    from vla_ros.training.card import CardError
    _check_out(tmp_path)
    (tmp_path / 'config.json').write_text('mine', encoding='utf-8')
    with pytest.raises(CardError, match='no shipped checkpoint'):
        _check_out(tmp_path)
    (tmp_path / 'README.md').write_text('# A small VLA for the simulated arm', encoding='utf-8')
    _check_out(tmp_path)
