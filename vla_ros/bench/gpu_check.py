# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
``scripts/gpu_check``: GPU tests and benchmarks as stages, each in a process with a time limit.

A stage that fails or exceeds its limit does not stop the next one. What was measured so far is on
disk after each stage.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from importlib.util import find_spec
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from vla_ros.bench.gpu_report import write_report

_ROOT = Path(__file__).parents[2]
_STAGES = 'vla_ros.bench.gpu_stages'


@dataclass(frozen=True)
class Stage:
    """
    One process.

    :param limit_s: seconds after which it is killed.
    :param obstacle: why it cannot run here; None if it can.
    :param has_result: whether its stdout is a JSON object, or several, of which the last counts.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float
    obstacle: str | None = None
    has_result: bool = True


def stages(is_rehearsal: bool) -> list[Stage]:
    """List the stages; the limits of a real run sum to less than ten minutes."""
    # The machine of a rehearsal may be busy with other tests.
    slowness = 4 if is_rehearsal else 1
    device, shape, frame = (('cpu', 'tiny', '64x48') if is_rehearsal
                            else ('cuda', 'openvla-7b', '3840x2160'))
    rounds, few, steps = ('2', '2', '4') if is_rehearsal else ('60', '20', '1000')
    python = (sys.executable, '-m')
    model = (*python, 'vla_ros.cli.bench', 'model', '--json', '--shape', shape, '--device',
             device, '--quantization', 'fp8,int8,int4')
    pytest = (*python, 'pytest', '-q', '-m', 'gpu', '-rs', '-p', 'no:cacheprovider')
    # Not the whole folder: other modules import ROS.
    tests = sorted(str(path) for path in (_ROOT / 'test').glob('test_gpu_*.py')
                   if path.name != 'test_gpu_check.py')
    smallest = ('-k', 'smallest', str(_ROOT / 'test' / 'test_gpu_graphs.py'))

    def measure(name: str, *options: str) -> tuple[str, ...]:
        return (*python, _STAGES, name, '--shape', shape, '--device', device, *options)

    listed = [
        Stage('machine', measure('machine'), 20),
        Stage('tests', (*pytest, *tests), 130, _missing('pytest'), has_result=False),
        Stage('model', (*model, '--rounds', rounds), 145, _missing('transformers')),
        Stage('steps', measure('steps', '--rounds', steps), 55),
        Stage('frame', measure('frame', '--size', frame), 20),
        Stage('profile', measure('profile'), 25),
        Stage('fused', measure('fused', '--rounds', few), 45, _missing('triton')),
        Stage('products', measure('products', '--rounds', few), 30, _missing('triton')),
        Stage('batch', measure('batch', '--rounds', few), 35),
        Stage('oft', measure('oft', '--rounds', rounds), 25),
        Stage('sanitizer', ('compute-sanitizer', '--error-exitcode', '1', *pytest, *smallest), 20,
              None if shutil.which('compute-sanitizer') else 'compute-sanitizer is not installed',
              has_result=False),
        # Last: what its compiler takes is the least certain.
        Stage('compiled', measure('compiled', '--rounds', few), 45,
              'it is measured on a GPU only' if is_rehearsal else None)]
    return [replace(stage, limit_s=slowness * stage.limit_s) for stage in listed]


def _read_result(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, or the last of several, each in its line; None where there is none."""
    text = path.read_text(encoding='utf-8')
    for candidate in (text, *reversed(text.splitlines())):
        try:
            result = json.loads(candidate)
        except ValueError:
            continue  # a line that was being written
        if isinstance(result, dict):
            return result
    return None


def _missing(package: str) -> str | None:
    return None if find_spec(package) else f'{package} is not installed'


def main(argv: Sequence[str] | None = None) -> int:
    """Run all stages and return 0 if none failed."""
    parser = argparse.ArgumentParser(prog='gpu_check', description=__doc__)
    parser.add_argument('folder', type=Path, help='where benchmarks.json, tables and log go')
    parser.add_argument('--wheels', type=Path, metavar='DIR',
                        help='folder of wheels to use, for example of flash-attn')
    parser.add_argument('--only', action='append', default=[], metavar='STAGE',
                        choices=[stage.name for stage in stages(True)],
                        help='run this stage; repeat for more')
    parser.add_argument('--rehearse', action='store_true',
                        help='run on the CPU with a tiny shape; the numbers mean nothing')
    arguments = parser.parse_args(argv)
    if arguments.wheels is not None and not list(arguments.wheels.glob('*.whl')):
        parser.error(f'--wheels: got {str(arguments.wheels)!r}, it must be a folder of .whl files')
    arguments.folder.mkdir(parents=True, exist_ok=True)
    chosen = [stage for stage in stages(arguments.rehearse)
              if not arguments.only or stage.name in arguments.only]
    with tempfile.TemporaryDirectory() as scratch:
        check = Check(arguments.folder, Path(scratch))
        if arguments.wheels is not None:
            check.install(arguments.wheels)
        for stage in chosen:
            check.run(stage)
    return 1 if any(row['status'] in ('failed', 'timed out') for row in check.rows) else 0


class Check:
    """Runs stages and keeps what they printed."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        """
        Start with an empty log.

        :param scratch: folder for what is not kept.
        """
        self.rows: list[dict[str, Any]] = []
        self._folder = folder
        self._scratch = scratch
        self._log = folder / 'log.txt'
        self._log.write_text('', encoding='utf-8')
        # A Hugging Face library must not wait for a network that is not there.
        self._environment = {**os.environ, 'PYTHONUNBUFFERED': '1', 'HF_HUB_OFFLINE': '1',
                             'PYTHONDONTWRITEBYTECODE': '1',
                             'TORCHINDUCTOR_CACHE_DIR': str(folder / 'compiled')}

    def install(self, wheels: Path) -> None:
        """Unpack wheels for the stages, without their dependencies."""
        site = self._scratch / 'site'
        files = sorted(str(path) for path in wheels.glob('*.whl'))
        command = (sys.executable, '-m', 'pip', 'install', '-q', '--no-index', '--no-deps',
                   '--no-compile', '--target', str(site), *files)
        self.run(Stage('wheels', command, 60, has_result=False))
        path = self._environment.get('PYTHONPATH', '')
        self._environment['PYTHONPATH'] = f'{site}{os.pathsep}{path}'

    def run(self, stage: Stage) -> None:
        """Run a stage, add its row, and write the report."""
        began = time.monotonic()
        row: dict[str, Any] = {'stage': stage.name, 'limit_s': stage.limit_s}
        if stage.obstacle:
            row.update(status='skipped', reason=stage.obstacle)
        else:
            row.update(self._execute(stage))
        row['seconds'] = round(time.monotonic() - began, 1)
        self.rows.append(row)
        self._note(f'== {stage.name}: {row["status"]} in {row["seconds"]} s\n')
        write_report(self.rows, self._folder)

    def _execute(self, stage: Stage) -> dict[str, Any]:
        self._note(f'== {stage.name}: {" ".join(stage.command)}\n')
        out = self._scratch / f'{stage.name}.out'
        with out.open('wb') as stdout, self._log.open('ab') as log:
            # A session of its own, so that what the stage started ends with it.
            process = subprocess.Popen(
                stage.command, stdout=stdout if stage.has_result else log, stderr=log, cwd=_ROOT,
                env=self._environment, start_new_session=True)
            try:
                status = process.wait(stage.limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                row = {'status': 'timed out', 'reason': f'longer than {stage.limit_s:g} s'}
            else:
                row = {'status': 'passed'} if not status else {
                    'status': 'failed', 'reason': f'exit status {status}, see log.txt'}
        if not stage.has_result:
            return row
        result = _read_result(out)
        if result is not None:
            return {**row, 'result': result}
        if row['status'] == 'passed':
            return {'status': 'failed', 'reason': 'its output is no JSON object'}
        return row

    def _note(self, line: str) -> None:
        sys.stderr.write(line)
        with self._log.open('a', encoding='utf-8') as log:
            log.write(line)


if __name__ == '__main__':
    sys.exit(main())
