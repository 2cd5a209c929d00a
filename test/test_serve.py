# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_serve`` with real checkpoints, and a thousand requests that are none."""

import base64
import json
import os
import random
import socket
import subprocess
import sys

from goldens import CASES
from goldens import rgb
from goldens import SPEC as CHECKPOINT
import numpy as np
import pytest
from rest_harness import IMAGE
from rest_harness import post
from rest_harness import remote

from vla_ros.json_numpy import dumps
from vla_ros.json_numpy import loads
from vla_ros.remote import RemoteError
from vla_ros.tools import serve


@pytest.fixture(scope='module')
def running(golden_checkpoints):
    """Start vla_serve on a golden checkpoint that holds several datasets; yield its port."""
    pytest.importorskip('torch')
    process = subprocess.Popen(
        [sys.executable, '-m', 'vla_ros.tools.serve', '--checkpoint',
         str(golden_checkpoints['float32']), '--device', 'cpu', '--port', '0'],
        stdout=subprocess.PIPE, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    try:
        line = process.stdout.readline()
        assert 'listening on http://127.0.0.1:' in line
        yield int(line.rsplit(':', 1)[1].split('/')[0])
        assert process.poll() is None, 'the server ended'
    finally:
        process.terminate()
        process.wait(30)


def request_of(case, **changes):
    return dumps({'image': rgb(case['image']), 'instruction': case['instruction'],
                  'unnorm_key': case['unnorm_key'], **changes})


@pytest.mark.parametrize('case', CASES[:3], ids=lambda case: case['name'])
def test_a_running_server_gives_the_official_actions(running, case):
    status, _, text = post(running, request_of(case))
    assert status == 200
    np.testing.assert_allclose(loads(text), case['action'], rtol=0, atol=1e-12)
    assert loads(text).dtype == np.float64


def test_several_datasets_need_a_key_in_each_request(running):
    assert post(running, request_of(CASES[0], unnorm_key=None))[2] == '"error"'
    assert post(running, request_of(CASES[0], unnorm_key='nothing'))[2] == '"error"'


def test_without_a_key_nothing_says_that_the_first_dataset_is_the_one(running):
    with pytest.raises(RemoteError, match='was started without --unnorm-key') as raised:
        remote(running, unnorm_key=CASES[0]['unnorm_key'])
    body = dumps({'images': [IMAGE], 'instruction': 'stop'})
    status, _, text = post(running, body, '/infer')
    assert status == 409
    for said in (text, str(raised.value)):
        names = said.split('choose from: ')[1].rstrip('"}').split(', ')
        assert set(names) == set(CHECKPOINT['norm_stats']) and len(names) > 1


def test_an_oft_server_does_not_start_without_a_key(oft_checkpoint, capsys):
    pytest.importorskip('torch')
    assert serve.main(['--checkpoint', str(oft_checkpoint), '--device', 'cpu', '--images', '2',
                       '--port', '0']) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert 'unnorm_key: not given' in said and 'choose from: ' in said


def test_a_thousand_malformed_requests_leave_it_serving(running):
    random.seed(5)
    whole = request_of(CASES[0]).encode()
    for number in range(1000):
        kind = number % 5
        if kind == 0:  # cut anywhere
            body = whole[:random.randrange(len(whole))]
        elif kind == 1:  # noise
            body = random.randbytes(random.randrange(200))
        elif kind == 2:  # JSON of something else
            body = json.dumps(random.choice([None, 3, [], 'x', {'image': 1}, {'encoded': 3},
                                             {'encoded': '{}', 'image': 2}])).encode()
        elif kind == 3:  # an array that is none
            body = json.dumps({'image': {'__numpy__': base64.b64encode(random.randbytes(9)).decode(
            ), 'dtype': random.choice(['|O', '|u1', '<f8', 'x']), 'shape': [random.randrange(9)]},
                'instruction': 'stop'}).encode()
        else:  # not even HTTP, or less than announced
            with socket.create_connection(('127.0.0.1', running)) as raw:
                raw.sendall(random.choice([
                    random.randbytes(50) + b'\r\n\r\n',
                    b'POST /act HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{',
                    b'POST /act HTTP/1.1\r\nContent-Length: -5\r\n\r\n{}',
                    b'POST /act HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n']))
            continue
        status, _, text = post(running, body)
        assert (status, text) == (200, '"error"') or status == 422, body[:80]
    np.testing.assert_allclose(loads(post(running, request_of(CASES[0]))[2]), CASES[0]['action'],
                               rtol=0, atol=1e-12)
