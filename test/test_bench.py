# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench model``: its output, and that it measures what it states."""

import json
import sys

import numpy as np
import pytest

from vla_ros.cli import bench

torch = pytest.importorskip('torch')
pytest.importorskip('transformers')

from test_out_of_memory import openvla_7b  # noqa: E402, I100, I201
from vla_ros.bench.operation_counts import OperationCounts  # noqa: E402
from vla_ros.bench.sizes import parse_size  # noqa: E402, I100
from vla_ros.bench.timing import run_interleaved  # noqa: E402
from vla_ros.bench.timing import summarize  # noqa: E402
from vla_ros.errors import ParameterError  # noqa: E402
from vla_ros.model.attention import attend_sdpa  # noqa: E402
from vla_ros.model.memory import activation_peak  # noqa: E402
from vla_ros.model.network import OpenVlaNetwork  # noqa: E402
from vla_ros.policy.base import Observation  # noqa: E402
from vla_ros.policy.config import PolicyConfig  # noqa: E402


def test_model_prints_one_json_object_and_writes_plot_and_trace(tmp_path, capsys):
    plot, trace = tmp_path / 'stages.png', tmp_path / 'trace.json'
    status = bench.main(['model', '--rounds', '4', '--device', 'cpu', '--json', '--plot',
                         str(plot), '--trace', str(trace)])
    result = json.loads(capsys.readouterr().out)
    assert status == 0
    for variant in ('baseline', 'engine', 'drafted', 'rejected', 'rejected_first'):
        row = result[variant]
        assert 0 < row['p50_ms'] <= row['p99_ms'] <= row['max_ms']
    for name in ('engine', 'drafted'):
        ratio = result['baseline']['p50_ms'] / result[name]['p50_ms']
        assert result[f'ratio_{name}'] == pytest.approx(ratio, rel=1e-2)
    assert result['token_agreement'] == 1.0
    assert (result['accepted'], result['drafts']) == (6, 6)
    assert 0.5 < result['ratio_rejected'] < 2 and 0.5 < result['ratio_rejected_first'] < 3
    for key in ('stages_ms', 'drafted_stages_ms'):
        assert list(result[key]) == ['wait', 'upload', 'preprocess', 'vision', 'prefill', 'decode',
                                     'read-back', 'post']
        assert result[key]['wait']['p50_ms'] > 0, 'a thread has to wake up'
        assert result[key]['upload']['max_ms'] == 0, 'a CPU has nothing to upload'
    decode = [result[key]['decode']['p50_ms'] for key in ('stages_ms', 'drafted_stages_ms')]
    assert decode[0] > decode[1]
    assert result['machine']['copy_gb_per_s'] > 0 < result['machine']['matmul_tflop_per_s']
    assert plot.read_bytes().startswith(b'\x89PNG')
    names = {event.get('name') for event in json.loads(trace.read_text())['traceEvents']}
    assert {'baseline', 'engine', 'drafted'} <= names


def test_drafts_that_are_always_rejected_are_no_longer_verified():
    from vla_ros.bench.model import Bench
    from vla_ros.bench.shapes import random_policy
    policy = random_policy('tiny', PolicyConfig('tiny', device='cpu', clip_invalid=True))
    frame = np.zeros((48, 64, 3), np.uint8)
    bench = Bench(policy, Observation((frame,), 'pick up the cup'))
    bench.measure(3)
    drafted = {name: [chunk.drafted for chunk in chunks]
               for name, chunks in bench._chunks.items()}
    assert drafted['engine'] == [0] * 6 and drafted['drafted'] == [6] * 6
    assert drafted['rejected'] == [6, 6, 0, 0, 0, 0]
    assert drafted['rejected_first'] == [6] * 6
    assert not any(chunk.accepted for name in ('rejected', 'rejected_first')
                   for chunk in bench._chunks[name])


def test_the_next_frame_is_prefetched_as_in_the_node():
    from vla_ros.bench.model import Bench
    from vla_ros.bench.shapes import random_policy
    from vla_ros.model.pixels import DevicePixels
    policy = random_policy('tiny', PolicyConfig('tiny', device='cpu', clip_invalid=True))
    loader = DevicePixels(policy.image_processor, policy.engine.pixels)
    policy._load_pixels, sent = loader, []
    policy.prefetch = lambda image: sent.append(loader.prefetch(image)) or sent[-1]
    used = []
    policy.infer, infer = lambda seen: used.append(seen.prefetched) or infer(seen), policy.infer
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    bench = Bench(policy, Observation((frame,), 'pick up the cup'))
    result = bench.measure(2)
    # The first run has nothing yet; what each of the others sends serves the next one.
    assert used[1] is None and used[2:] == sent[:-1] and None not in sent
    assert result['token_agreement'] == 1.0


def test_quantised_weights_are_compared_with_full_ones(golden_checkpoints, tmp_path, capsys):
    frames = [tmp_path / f'{number}.npy' for number in range(3)]
    for number, path in enumerate(frames):
        np.save(path, np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))
    arguments = ['model', '--checkpoint', str(golden_checkpoints['float32']), '--unnorm-key',
                 'golden_bridge', '--rounds', '2', '--device', 'cpu', '--quantization',
                 'int8,int4,fp8', '--images', *map(str, frames)]
    assert bench.main([*arguments, '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['frame'] == '64x48'
    full, int8, int4, fp8 = result['quantizations']
    assert [row['quantization'] for row in (full, int8, int4, fp8)] == [
        'none', 'int8', 'int4', 'fp8']
    assert 'it needs a GPU' in fp8['reason'] and len(fp8) == 2
    assert (full['speed'], full['token_agreement'], full['action_error']) == (1.0, 1.0, 0.0)
    for row in (int8, int4):
        assert (row['results'], row['tokens'], row['reason']) == (3, 21, None)
        assert row['speed'] == pytest.approx(full['p50_ms'] / row['p50_ms'], rel=1e-2)
        assert 0 <= row['token_agreement'] <= 1
    sizes = [row['memory_mib'] for row in (full, int8, int4)]
    assert sizes[0]['language_model'] > sizes[1]['language_model'] > sizes[2]['language_model']
    assert len({(size['vision'], size['projector'], size['buffers']) for size in sizes}) == 1
    for size in sizes:
        # At least what the first block of a tower needs.
        assert 0.01 < size['activations'] < 1000
        assert size['total'] == pytest.approx(
            sum(value for name, value in size.items() if name != 'total'), abs=0.1)
    assert bench.main(arguments) == 0
    printed = capsys.readouterr().out
    assert '| int4 | ' in printed and 'fp8: not here. quantization fp8: it needs' in printed


def test_activation_memory_is_the_peak_of_live_tensors():
    def run():
        for _ in range(3):
            first = torch.zeros(2**20)
            second = first + 1
            del first, second
    assert activation_peak(run, torch.device('cpu')) == pytest.approx(2 * 4 * 2**20, rel=0.01)


def test_model_prints_a_table_for_a_checkpoint(golden_checkpoints, capsys):
    assert bench.main(['model', '--checkpoint', str(golden_checkpoints['float32']), '--rounds',
                       '2', '--device', 'cpu', '--unnorm-key', 'golden_bridge', '--size',
                       '64x48']) == 0
    printed = capsys.readouterr().out
    assert '| engine, draft accepted |' in printed
    assert 'frames 64x48, n = 2 runs' in printed
    assert 'Tokens equal to the plain way: 100.00 %.' in printed


@pytest.mark.parametrize(('arguments', 'expected'), [
    (['model', '--size', '0x4'], "--size: got '0x4', it must be WIDTHxHEIGHT"),
    (['model', '--rounds', '0'], '--rounds: got 0, it must be at least 1'),
    (['model', '--quantization', 'int8,int3'], "--quantization: got 'int3', it must be one of "
                                               'none, int8, int4, fp8, or several'),
    (['model', '--images', '/nowhere.png'], '/nowhere.png'),
    (['model', '--checkpoint', '/nowhere'], 'checkpoint /nowhere: no such folder'),
])
def test_an_invalid_argument_is_one_line(arguments, expected, capsys):
    assert bench.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ''
    assert expected in printed.err and printed.err.count('\n') == 1


def test_a_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    monkeypatch.delitem(sys.modules, 'vla_ros.bench.model', raising=False)
    monkeypatch.delitem(sys.modules, 'vla_ros.bench.baseline', raising=False)
    assert bench.main(['model']) == 2
    error = capsys.readouterr().err
    assert error.startswith('vla_bench: model: the Python package transformers is not installed')
    assert 'requirements.txt' in error


def test_help_lists_benchmarks_and_options(capsys):
    for arguments, named in (([], 'model'), (['model'], '--trace')):
        with pytest.raises(SystemExit) as ended:
            bench.main([*arguments, '--help'])
        assert ended.value.code == 0
        assert named in capsys.readouterr().out


def test_variants_are_measured_alternately():
    ran = []
    spent = run_interleaved({name: lambda name=name: ran.append(name) for name in 'abc'}, 2, 1)
    assert ''.join(ran) == 'abcabcabc'
    assert [len(times) for times in spent.values()] == [2, 2, 2]


def test_times_are_summarized_as_median_p99_maximum_and_jitter():
    assert summarize([4.0, 1.0, 3.0]) == {
        'p50_ms': 3.0, 'p99_ms': 3.98, 'max_ms': 4.0, 'jitter_ms': 2.5}


def test_a_frame_size_is_parsed_or_refused():
    assert parse_size('640x480') == (640, 480)
    for text in ('640', 'x', '640x-1', 'axb'):
        with pytest.raises(ParameterError):
            parse_size(text)


def test_the_computed_work_of_openvla_7b_equals_published_figures():
    with torch.device('meta'):
        network = OpenVlaNetwork(openvla_7b(), attend_sdpa).to(torch.bfloat16)
    counts = OperationCounts.of(network, 280)
    # vision and projector 0.42 TFLOP, prefill 3.65 TFLOP, a decode step 13.36 GB
    assert counts.vision == pytest.approx(0.42e12, rel=0.1)
    assert counts.prefill == pytest.approx(3.65e12, rel=0.03)
    assert counts.decode == pytest.approx(13.36e9, rel=0.01)
    assert counts.floor_ms(4.3e12, 790e12, 7)['engine'] == pytest.approx(23.8, rel=0.03)
