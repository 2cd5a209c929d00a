# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_serve`` with real checkpoints, malformed requests, keys and TLS."""

import base64
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys

from goldens import CASES
from goldens import rgb
from goldens import SPEC as CHECKPOINT
import numpy as np
import pytest
from rest_harness import ask_spec
from rest_harness import IMAGE
from rest_harness import post
from rest_harness import remote
from rest_harness import serving
from rest_harness import Stub

from vla_ros.cli import serve
from vla_ros.data.json_numpy import dumps
from vla_ros.data.json_numpy import loads
from vla_ros.errors import ParameterError
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.policy.remote import RemoteError
from vla_ros.server.uvicorn_server import make_server


@pytest.fixture(scope='module')
def running(golden_checkpoints):
    """Start vla_serve on a golden checkpoint that holds several datasets; yield its port."""
    pytest.importorskip('torch')
    process = subprocess.Popen(
        [sys.executable, '-m', 'vla_ros.cli.serve', '--checkpoint',
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


def test_a_request_without_a_known_unnorm_key_is_an_error(running):
    assert post(running, request_of(CASES[0], unnorm_key=None))[2] == '"error"'
    assert post(running, request_of(CASES[0], unnorm_key='nothing'))[2] == '"error"'


def test_without_an_unnorm_key_the_server_names_its_datasets(running):
    with pytest.raises(RemoteError, match='was started without --unnorm-key') as raised:
        remote(running, unnorm_key=CASES[0]['unnorm_key'])
    body = dumps({'images': [IMAGE], 'instruction': 'stop'})
    status, _, text = post(running, body, '/infer')
    assert status == 409
    for error in (text, str(raised.value)):
        names = error.split('choose from: ')[1].rstrip('"}').split(', ')
        assert set(names) == set(CHECKPOINT['norm_stats']) and len(names) > 1


def test_an_oft_server_does_not_start_without_an_unnorm_key(oft_checkpoint, capsys):
    pytest.importorskip('torch')
    assert serve.main(['--checkpoint', str(oft_checkpoint), '--device', 'cpu', '--images', '2',
                       '--port', '0']) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'unnorm_key: not given' in error and 'choose from: ' in error


def test_the_server_survives_a_thousand_malformed_requests(running):
    random.seed(5)
    whole = request_of(CASES[0]).encode()
    for number in range(1000):
        kind = number % 5
        if kind == 0:  # cut anywhere
            body = whole[:random.randrange(len(whole))]
        elif kind == 1:  # noise
            body = random.randbytes(random.randrange(200))
        elif kind == 2:  # JSON without an observation
            body = json.dumps(random.choice([None, 3, [], 'x', {'image': 1}, {'encoded': 3},
                                             {'encoded': '{}', 'image': 2}])).encode()
        elif kind == 3:  # an invalid array
            body = json.dumps({'image': {'__numpy__': base64.b64encode(random.randbytes(9)).decode(
            ), 'dtype': random.choice(['|O', '|u1', '<f8', 'x']), 'shape': [random.randrange(9)]},
                'instruction': 'stop'}).encode()
        else:  # not even HTTP, or less than announced
            with socket.create_connection(('127.0.0.1', running)) as raw:
                raw.sendall(random.choice([
                    random.randbytes(50) + b'\r\n\r\n',
                    b'POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{',
                    b'POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{}',
                    b'POST /act HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n']))
            continue
        status, _, text = post(running, body)
        assert (status, text) == (200, '"error"') or status == 422, body[:80]
    np.testing.assert_allclose(loads(post(running, request_of(CASES[0]))[2]), CASES[0]['action'],
                               rtol=0, atol=1e-12)


@pytest.mark.parametrize('host', ['0.0.0.0', '::', '192.168.1.2', 'gpu-machine', ''])
def test_a_network_address_needs_an_api_key_or_insecure(host, monkeypatch, capsys):
    monkeypatch.delenv('VLA_API_KEY', raising=False)
    assert serve.main(['--checkpoint', 'none', '--host', host, '--port', '0']) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and 'VLA_API_KEY' in error and '--insecure' in error
    # With each way of the advice only the checkpoint is missing.
    for arguments, key in ((['--host', host, '--insecure'], ''), (['--host', host], 'secret'),
                           (['--host', '127.0.0.1'], ''), (['--host', '::1'], ''),
                           (['--host', 'localhost'], '')):
        monkeypatch.setenv('VLA_API_KEY', key)
        assert serve.main(['--checkpoint', 'none', '--port', '0', *arguments]) == 2
        error = capsys.readouterr().err.splitlines()
        assert 'checkpoint none' in error[-1]
        assert ('--insecure' in error[0]) == ('--insecure' in arguments)


@pytest.mark.parametrize('strict', [False, True])
def test_an_invalid_instruction_is_an_error_of_the_client(strict):
    with serving(Stub(), strict=strict) as port:
        body = dumps({'images': [IMAGE], 'image': IMAGE, 'instruction': 'pick'})
        body = body.replace('pick', 'pick \\ud800')
        status, _, text = post(port, body, '/infer')
        assert (status, 'U+D800' in text) == (400, True)
        status, _, text = post(port, body)
        assert (status, text == '"error"') == ((400, False) if strict else (200, True))


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_the_server_cleanly(tmp_path, number, status):
    (tmp_path / 'still_policy.py').write_text(
        'from vla_ros.policy.base import PolicySpec\n'
        'class Still:\n'
        "    spec = PolicySpec('x', 'y', (1, 7), 1, 0, 'cpu', '', '', '', '')\n"
        '    def infer(self, observation): raise AssertionError\n'
        '    def reset(self): pass\n')
    code = ('import sys\n'
            'from vla_ros.cli import serve\n'
            'from still_policy import Still\n'
            'serve._load = lambda arguments, progress: (Still(), ())\n'
            "sys.exit(serve.main(['--checkpoint', 'x', '--port', '0']))\n")
    process = subprocess.Popen([sys.executable, '-c', code], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, cwd=tmp_path)
    try:
        port = int(process.stdout.readline().rsplit(':', 1)[1].split('/')[0])
        with socket.create_connection(('127.0.0.1', port)) as idle:
            ask_spec(idle)
            process.send_signal(number)
            assert idle.recv(1000) == b''  # ended by the server, not by a reset
        assert (process.wait(30), process.stderr.read()) == (status, '')
    finally:
        process.kill()
        process.wait()


def test_a_missing_package_or_certificate_is_one_line(monkeypatch, capsys, tmp_path):
    assert serve.main(['--checkpoint', 'x', '--tls-key', 'key.pem']) == 2
    assert '--tls-certificate' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    monkeypatch.delitem(sys.modules, 'vla_ros.server.uvicorn_server', raising=False)
    assert serve.main(['--checkpoint', 'x']) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and 'pip install' in error and 'uvicorn' in error


def test_the_server_uses_tls_with_the_given_certificate(tmp_path, monkeypatch):
    if shutil.which('openssl') is None:
        pytest.skip('openssl is not installed: sudo apt install openssl')
    certificate, key = tmp_path / 'certificate.pem', tmp_path / 'key.pem'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout',
                    str(key), '-out', str(certificate)], check=True, capture_output=True)
    with pytest.raises(ParameterError, match='--tls-certificate'):
        make_server(None, key, certificate)
    observation = Observation((IMAGE,), 'stop')
    with serving(Stub(), tls=(certificate, key)) as port:
        config = PolicyConfig(policy='remote', url=f'https://127.0.0.1:{port}', deadline_s=30)
        with pytest.raises(RemoteError, match='certificate verify failed'):
            load_policy(config)  # it is not trusted
        monkeypatch.setenv('SSL_CERT_FILE', str(certificate))
        assert load_policy(config).infer(observation).token_ids == (31999,)
