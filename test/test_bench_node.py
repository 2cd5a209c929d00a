# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench node`` with real processes and real DDS."""

import json

import numpy as np
import pytest

from vla_ros.bench.node import summarize_rows
from vla_ros.cli import bench


def test_every_stage_from_camera_to_command_is_measured(capsys):
    pytest.importorskip('rclpy')
    assert bench.main(['node', '--frames', '40', '--rate', '30', '--size', '160x120',
                       '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert 20 <= result['commands_received'] <= 40
    assert result['results'] >= result['commands_received']
    for part in ('overhead', 'transport', 'total', 'wait', 'infer', 'publish'):
        assert 0 < result[part]['p50_ms'] <= result[part]['p99_ms'] < 5000
    assert result['overhead']['p50_ms'] < result['total']['p50_ms']


def test_the_stages_of_a_row_add_up_to_its_total():
    row = np.array([[0, 4_000_000, 5_000_000, 5_500_000, 7_000_000]])
    parts = {name: part['p50_ms'] for name, part in summarize_rows(row).items()}
    assert parts == {'overhead': 3.0, 'transport': 4.0, 'total': 7.0, 'wait': 1.0, 'infer': 0.5,
                     'publish': 1.5}


@pytest.mark.parametrize(('arguments', 'expected'), [
    (['--frames', '0'], '--frames: got 0, it must be at least 1'),
    (['--rate', '0'], '--rate: got 0.0, it must be more than 0'),
    (['--size', '640'], "--size: got '640', it must be WIDTHxHEIGHT")])
def test_an_invalid_argument_is_one_line(arguments, expected, capsys):
    assert bench.main(['node', *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == '' and expected in printed.err and printed.err.count('\n') == 1
