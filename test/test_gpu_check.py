# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The GPU check: its stages, their limits, and a rehearsal on the CPU without ROS or network."""

import argparse
import json
import os
from pathlib import Path
import subprocess
import sys
import time

import pytest

pytest.importorskip('torch')
pytest.importorskip('transformers')

from vla_ros.bench import gpu_check  # noqa: E402, I100
from vla_ros.bench.gpu_check import Check  # noqa: E402
from vla_ros.bench.gpu_check import Stage  # noqa: E402
from vla_ros.bench.gpu_layers import LayerComparison  # noqa: E402
from vla_ros.bench.kernels import count_operations  # noqa: E402

ROOT = Path(__file__).parents[1]
# Packages that a GPU machine need not have, and the network.
ISOLATE = """
import importlib.abc, socket, sys

BLOCKED = ('ament_index_python', 'cv_bridge', 'launch', 'mujoco', 'pinocchio', 'rclpy', 'ruckig',
           'sensor_msgs', 'std_msgs', 'vla_ros_msgs')


class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in BLOCKED:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)


def connect(*arguments):
    raise OSError('there is no network')


sys.meta_path.insert(0, Block())
socket.socket.connect = connect
"""


@pytest.fixture
def check(tmp_path):
    folder, scratch = tmp_path / 'out', tmp_path / 'scratch'
    folder.mkdir()
    scratch.mkdir()
    return Check(folder, scratch)


def is_running(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def python(code):
    return sys.executable, '-c', code


def test_a_rehearsal_on_the_cpu_writes_every_table_and_file(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(ISOLATE)
    out = tmp_path / 'out'
    done = subprocess.run(
        [ROOT / 'scripts/gpu_check', str(out), '--rehearse'], cwd='/', capture_output=True,
        text=True, timeout=900, env={'PATH': os.environ['PATH'], 'HOME': str(tmp_path),
                                     'PYTHON': sys.executable, 'PYTHONPATH': str(tmp_path)})
    log = (out / 'log.txt').read_text()
    assert done.returncode == 0, log[-3000:]
    rows = {row['stage']: row for row in json.loads((out / 'benchmarks.json').read_text())}
    statuses = {name: row['status'] for name, row in rows.items()
                if name not in ('sanitizer', 'fused', 'products', 'compiled')}
    assert statuses == dict.fromkeys(
        ('machine', 'tests', 'model', 'steps', 'frame', 'profile', 'batch', 'oft'), 'passed')
    assert rows['model']['result']['token_agreement'] == 1.0
    assert 0 < rows['profile']['result']['operations per layer'] < 40
    batches = rows['batch']['result']
    for size in (1, 2, 4, 8, 16):
        plain, drafted = (batches[f'{size} observations, {name}']
                          for name in ('no draft', 'drafts accepted'))
        for row in (plain, drafted):
            assert row['tokens as alone'] == f'{7 * size} of {7 * size}'
        assert (plain['drafted tokens accepted'], drafted['drafted tokens accepted']) == (
            0, 6 * size)
    tables = (out / 'tables.md').read_text()
    for heading in ('Model', 'Machine', 'Consecutive inferences', 'Upload and preprocessing',
                    'Kernels of a decode step', 'Batches', 'OpenVLA-OFT and vision batches'):
        assert f'## {heading}' in tables
    assert 'engine, draft accepted' in tables and 'speed of fp8 over bfloat16 | not' in tables
    assert (out / 'stages.png').read_bytes().startswith(b'\x89PNG')
    assert 'needs a CUDA device' in log


def test_the_limits_of_all_stages_fit_into_ten_minutes():
    assert sum(stage.limit_s for stage in gpu_check.stages(False)) < 600


def test_a_failed_stage_does_not_stop_the_next_one(check, tmp_path):
    check.run(Stage('fails', python('import sys; print("why", file=sys.stderr); sys.exit(3)'), 20))
    check.run(Stage('talks', python('print("no JSON")'), 20))
    check.run(Stage('absent', ('no-such-program',), 20, 'no-such-program is not installed'))
    check.run(Stage('works', python('print({})'), 20))
    assert [row['status'] for row in check.rows] == ['failed', 'failed', 'skipped', 'passed']
    assert check.rows[0]['reason'] == 'exit status 3, see log.txt'
    assert 'its output is no JSON' in check.rows[1]['reason']
    assert 'why' in (tmp_path / 'out/log.txt').read_text()
    assert len(json.loads((tmp_path / 'out/benchmarks.json').read_text())) == 4


def test_a_stage_is_killed_at_its_time_limit_with_its_child_processes(check, tmp_path):
    # A shell is up at once, a Python of a busy machine perhaps not within the limit.
    began = time.monotonic()
    check.run(Stage('hangs', ['sh', '-c', "sh -c 'echo $$; exec sleep 60'; true"], 2))
    assert check.rows[0]['status'] == 'timed out' and time.monotonic() - began < 20
    started = int((tmp_path / 'scratch/hangs.out').read_text())
    # It was killed, which takes effect when it is scheduled the next time.
    deadline = time.monotonic() + 20
    while is_running(started):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_results_printed_before_the_time_limit_are_kept(check):
    lines = 'echo \'{"first": 1}\'; echo \'{"first": 1, "second": 2}\'; printf \'{"fi\''
    check.run(Stage('slow', ['sh', '-c', f'{lines}; exec sleep 60'], 2))
    check.run(Stage('broken', python('print("{}"); raise SystemExit(3)'), 60))
    check.run(Stage('silent', ['sh', '-c', 'exec sleep 60'], 1))
    slow, broken, silent = check.rows
    assert (broken['status'], broken['result']) == ('failed', {})
    assert (slow['status'], slow['result']) == ('timed out', {'first': 1, 'second': 2})
    assert silent['status'] == 'timed out' and 'result' not in silent


def test_a_folder_without_wheels_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        gpu_check.main([str(tmp_path / 'out'), '--wheels', str(tmp_path)])
    assert ended.value.code == 2
    assert 'it must be a folder of .whl files' in capsys.readouterr().err


def test_tokens_of_changed_layers_are_compared_with_those_of_plain_ones():
    arguments = argparse.Namespace(shape='tiny', device='cpu', rounds=1)

    def spoil(network):
        for layer in network.language_model.layers:
            layer.mlp.down_proj.weight.data.zero_()

    rows = {}
    LayerComparison(arguments).run({'same': lambda network: None, 'other': spoil}, rows)
    assert rows['same']['tokens as plain'] == '7 of 7' != rows['other']['tokens as plain']
    assert rows['plain layers']['operations per layer'] == 26
    assert {'vision', 'prefill', 'decode', 'start-up, s'} <= set(rows['same'])


def test_views_are_not_counted_as_operations():
    import torch
    x, y = torch.ones(4, 4), torch.empty(4, 4)
    counted = count_operations(lambda: y.copy_(x.t().unsqueeze(0).squeeze(0) @ x + 1))
    assert counted == {'aten::mm': 1, 'aten::add.Tensor': 1, 'aten::copy_': 1}
