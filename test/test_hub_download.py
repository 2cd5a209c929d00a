# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Download of a checkpoint from a hub into the cache, with the real client over HTTP."""

import json
import os
import shutil
import subprocess
import sys

from fake_hub import serve
import numpy as np
import pytest
from test_hub import files  # noqa: F401  a fixture
from test_hub import NEW
from test_hub import OLD

pytest.importorskip('torch')
pytest.importorskip('huggingface_hub')


# One command after the other, each with its status, stdout and stderr in a line of JSON.
PREDICTIONS = """
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
import json, sys, time
from vla_ros.cli.predict import main

# The hub's client waits between its tries, for 30 s in all.
time.sleep = lambda seconds: None
for line in sys.stdin:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(json.loads(line))
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture
def predict(tmp_path):
    """Run vla_predict repeatedly in one process, in which the client reads its settings."""
    processes = []

    def run(url, cache, image, *options):
        if not processes:
            environment = {**os.environ, 'HF_ENDPOINT': url, 'HF_HUB_CACHE': str(cache),
                           'HF_HUB_DISABLE_XET': '1', 'HF_HUB_DISABLE_TELEMETRY': '1',
                           'HF_HUB_DISABLE_PROGRESS_BARS': '1', 'no_proxy': '127.0.0.1',
                           'NO_PROXY': '127.0.0.1'}
            processes.append(subprocess.Popen(
                [sys.executable, '-c', PREDICTIONS], stdin=subprocess.PIPE, text=True,
                stdout=subprocess.PIPE, env=environment))
        process = processes[0]
        arguments = ['--checkpoint', 'team/robot', '--image', str(image), '--instruction', 'go',
                     '--unnorm-key', 'golden_bridge', '--device', 'cpu', '--clip-invalid',
                     '--json', *options]
        process.stdin.write(json.dumps(arguments) + '\n')
        process.stdin.flush()
        status, out, err = json.loads(process.stdout.readline())
        if status:
            assert status == 2 and out == '', err
            return err
        return json.loads(out)

    yield run
    for process in processes:
        process.communicate()


def test_a_commit_is_downloaded_once_and_kept(files, predict, tmp_path):  # noqa: F811
    image, cache = tmp_path / 'image.npy', tmp_path / 'cache'
    np.save(image, np.zeros((56, 56, 3), np.uint8))
    newer = tmp_path / 'newer'
    shutil.copytree(files, newer)
    statistics = json.loads((newer / 'dataset_statistics.json').read_text())
    statistics['golden_bridge']['action']['q99'] = [8.0] * 7
    for name in ('min', 'max', 'mean', 'std'):
        del statistics['golden_bridge']['action'][name]
    (newer / 'dataset_statistics.json').write_text(json.dumps(statistics))
    with serve() as hub:
        hub.commits, hub.main = {OLD: files}, OLD
        first = predict(hub.url, cache, image)
        assert first['revision'] == OLD
        # A newer commit appears: no request is sent, and the action does not change.
        hub.commits[NEW], hub.main = newer, NEW
        hub.requests.clear()
        again = predict(hub.url, cache, image)
        assert (again['revision'], again['action']) == (OLD, first['action'])
        assert hub.requests == []
        # A lost file is downloaded again, from the same commit.
        snapshot = cache / 'models--team--robot' / 'snapshots' / OLD
        (snapshot / 'model.safetensors').resolve().unlink()
        (snapshot / 'model.safetensors').unlink()
        completed = predict(hub.url, cache, image)
        assert (completed['revision'], completed['action']) == (OLD, first['action'])
        assert all(NEW not in path and 'main' not in path for path in hub.requests)
        # The newer commit is loaded if it is named.
        named = predict(hub.url, cache, image, '--revision', NEW)
        assert named['revision'] == NEW and named['action'] != first['action']
        assert predict(hub.url, cache, image)['revision'] == OLD
        url = hub.url
    # Without the hub, a cached checkpoint runs, and a missing file is named.
    assert predict(url, cache, image)['action'] == first['action']
    (snapshot / 'model.safetensors').unlink()
    problem = predict(url, cache, image, '--revision', OLD)
    assert f'commit {OLD} is incomplete: model.safetensors missing' in problem
    assert problem.count('\n') == 1
