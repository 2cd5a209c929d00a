# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench serve``: its load, and which requests it counts as completed."""

import json
import time

import pytest

pytest.importorskip('torch')

from rest_harness import serving  # noqa: E402, I100
from rest_harness import Stub  # noqa: E402

from vla_ros.cli import bench  # noqa: E402, I100


def measure(capsys, port, *options):
    status = bench.main(['serve', '--json', '--url', f'http://127.0.0.1:{port}', '--size', '8x8',
                         *options])
    assert status == 0
    return json.loads(capsys.readouterr().out)


def test_the_load_has_the_requested_rate(capsys):
    with serving(Stub()) as port:
        result = measure(capsys, port, '--robots', '1,3', '--rate', '5', '--seconds', '2')
    assert [row['robots'] for row in result['rows']] == [1, 3]
    for row in (*result['rows'], result['beside_busy']['alone']):
        assert row['due'] == 10 * row['robots'] == (
            row['completed'] + row['refused'] + row['skipped'] + row['failed'])
        assert 0 < row['p50_ms'] <= row['p99_ms'] <= row['max_ms']
        assert row['batches'] == {'1': row['completed']}
    assert result['beside_busy']['beside']['batches']['1'] > 10


def test_refused_late_or_failed_requests_do_not_count_as_sustained(capsys):
    slow = Stub()
    stub_infer = slow.infer

    def infer(observation):
        time.sleep(0.15)
        return stub_infer(observation)

    slow.infer = infer
    with serving(slow) as port:
        result = measure(capsys, port, '--robots', '4', '--rate', '10', '--seconds', '1')
        row, = result['rows']
        assert result['sustained_robots'] == 0 and not row['sustained']
        assert row['refused'] > 0 and row['failed'] == 0
        slow.infer = None
        row, = measure(capsys, port, '--robots', '1', '--rate', '10', '--seconds', '1')['rows']
        assert row['failed'] + row['skipped'] == row['due'] and row['failed']
        assert not row['sustained'] and 'p99_ms' not in row


@pytest.mark.parametrize('options', [['--robots', '0'], ['--robots', 'x'], ['--rate', '0'],
                                     ['--seconds', 'nan'], ['--url', 'gpu:8000']])
def test_an_invalid_option_is_one_line(options, capsys):
    url = [] if '--url' in options else ['--url', 'http://127.0.0.1:9']
    assert bench.main(['serve', *url, *options]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and options[1] in error
