# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Every program reports an invalid command line in one line and exits with status 2."""

import importlib

import pytest

PREDICT, BENCH, DOCTOR = 'vla_ros.cli.predict', 'vla_ros.cli.bench', 'vla_ros.cli.doctor'
EVAL, TRAIN, TRANSPORT = 'vla_ros.cli.eval', 'vla_ros.cli.train', 'vla_ros.cli.transport'
DEMO, STREAM = 'vla_ros.cli.demo', 'vla_ros.bench.image_stream'
PANEL = 'vla_ros.cli.panel'
NEEDED = ['--checkpoint', 'x', '--image', 'x', '--instruction', 'x']


@pytest.mark.parametrize('module, arguments, problem', [
    (PREDICT, [], 'required: --checkpoint, --image, --instruction'),
    (PREDICT, [*NEEDED, '--nonsense'], 'unrecognized arguments: --nonsense; usage: vla_predict ['),
    (PREDICT, [*NEEDED, '--device', 'tpu'], 'cuda'),
    (PREDICT, [*NEEDED, '--chunk-length', '1.5'], "got '1.5', it must be a whole number"),
    (PREDICT, [*NEEDED, '--adapter', 'x'], "got 'x', it must be NAME=DIR"),
    (PREDICT, ['--checkpoint'], 'expected one argument'),
    (PREDICT, [*NEEDED, 'two\nlines'], 'unrecognized arguments: two lines'),
    (BENCH, [], 'model|node|serve|transport'),
    (BENCH, ['speed'], 'transport'),
    (BENCH, ['transport', '--nonsense'], '--sizes'),
    (BENCH, ['transport', '--frames', 'many'], "got 'many', it must be a whole number"),
    (DOCTOR, ['--seconds', 'x'], "got 'x', it must be a number"),
    (DOCTOR, ['--seconds', 'nan'], 'must be above 0, at most 3600'),
    (DOCTOR, ['--seconds', '0'], 'must be above 0, at most 3600'),
    (DOCTOR, ['--nonsense'], '--blackbox FILE'),
    (EVAL, ['--task', 'fly'], 'reach'),
    (EVAL, ['--episodes', 'x'], "got 'x', it must be a whole number"),
    (TRAIN, ['--steps', 'x'], "got 'x', it must be a whole number"),
    (TRAIN, ['--nonsense'], '--dataset DIR'),
    (TRANSPORT, [], 'one of the arguments --print-env --run is required'),
    (TRANSPORT, ['--run', 'smoke'], 'cyclonedds'),
    (DEMO, ['--instructions', '9'], '5'),
    (PANEL, ['--port', 'x'], "got 'x', it must be a whole number"),
    (PANEL, ['--nonsense'], 'parameters follow --ros-args'),
    (STREAM, ['sing'], 'receive')])
def test_an_invalid_command_line_is_one_line_and_status_2(capsys, module, arguments, problem):
    try:
        main = importlib.import_module(module).main
    except ImportError as error:
        pytest.skip(f'{error.name} is not installed')
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    assert end.value.code == 2 and out == ''
    assert err.count('\n') == 1 and problem in err, err


def test_help_is_printed_in_full(capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(PREDICT).main(['--help'])
    out, err = capsys.readouterr()
    assert end.value.code == 0 and err == '' and out.count('\n') > 20
