# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Access to the operator's page: token, other origins, and options of the command."""

from http.client import HTTPConnection
import shutil
import ssl
import subprocess
import sys
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request
from urllib.request import urlopen

from domains import next_domain
from panel_harness import Client
from panel_harness import panel
from panel_process import panel_process
import pytest
from vla_ros.cli import panel as tool
import websockets.exceptions

TOKEN = 'a token of 24 characters'


def request(port, path='/', method='GET', body=None, **headers):
    """Return status, headers and body of a reply."""
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request(method, path, body, {
        name.replace('_', '-'): value for name, value in headers.items()})
    reply = connection.getresponse()
    content = reply.read().decode()
    connection.close()
    return reply.status, reply.headers, content


def can_connect(port, **headers):
    """Return whether a viewer is accepted."""
    try:
        Client(port, additional_headers={
            name.replace('_', '-'): value for name, value in headers.items()}).close()
    except websockets.exceptions.InvalidStatus as error:
        assert error.response.status_code == 403
        return False
    return True


def test_without_the_token_every_request_is_refused():
    with panel(token=TOKEN) as (robot, port):
        for path in ('/', '/index.html', '/panel.js', '/ws', '/nothing', '//', '/../panel.js'):
            status, _, content = request(port, path)
            assert status == 401 and 'STOP' not in content and 'Connection' not in content, path
        for headers in ({}, {'Authorization': f'Bearer {TOKEN}x'}, {'Authorization': 'Bearer '},
                        {'Authorization': f'Basic {TOKEN}'}, {'Cookie': f'vla_panel_{port}='},
                        {'Cookie': 'vla_panel_0="' + '9' * 3000}, {'Cookie': '\x80;=;;"'}):
            assert request(port, '/stop', 'POST', **headers)[0] == 401, headers
            assert not can_connect(port, **headers), headers
        assert robot.done == [] and robot.show is None
        assert request(port, '/stop', 'POST', Authorization=f'Bearer {TOKEN}')[0] == 200
        assert can_connect(port, Authorization=f'Bearer {TOKEN}')


def test_a_browser_gets_a_cookie_for_the_token_until_the_process_ends():
    with panel(token=TOKEN) as (_, port):
        status, _, content = request(port)
        assert status == 401 and 'name="token"' in content
        form = {'Content_Type': 'application/x-www-form-urlencoded'}
        for wrong in ('token=no', '', 'x=' + TOKEN, 'token=%ff%00', 'token='):
            status, headers, _ = request(port, '/login', 'POST', wrong, **form)
            assert status == 401 and 'set-cookie' not in headers
        assert request(port, '/login', 'POST', 'x' * 5000, **form)[0] == 413
        status, headers, _ = request(port, '/login', 'POST', urlencode({'token': TOKEN}), **form)
        assert (status, headers['location']) == (303, '/')
        cookie, *flags = headers['set-cookie'].split('; ')
        assert {'HttpOnly', 'SameSite=strict'} <= set(flags) and TOKEN not in cookie
        status, headers, content = request(port, Cookie=cookie)
        assert status == 200 and 'STOP' in content
        assert "frame-ancestors 'none'" in headers['content-security-policy']
        assert can_connect(port, Cookie=cookie)
    with panel(token=TOKEN) as (_, port):
        assert not can_connect(port, Cookie=f'vla_panel_{port}={cookie.split("=")[1]}'), \
            'a cookie is invalid after the process has ended'


@pytest.mark.parametrize('headers', [
    {'Origin': 'http://evil.example'}, {'Origin': 'null'}, {'Origin': 'http://127.0.0.1'},
    {'Origin': 'http://127.0.0.1:1'}, {'Host': 'evil.example'}])
def test_requests_of_other_origins_and_hosts_are_refused(headers):
    with panel() as (robot, port):
        assert request(port, '/stop', 'POST', **headers)[0] == 403
        assert request(port, '/', **headers)[0] == 403
        if 'Host' not in headers:
            assert not can_connect(port, **headers)
            assert can_connect(port, Origin=f'http://127.0.0.1:{port}')
        assert robot.done == []


def test_on_the_network_a_host_name_is_served_and_another_origin_refused():
    with panel(token=TOKEN, is_local=False) as (_, port):
        headers = {'Host': 'robot.lab', 'Authorization': f'Bearer {TOKEN}'}
        assert request(port, **headers)[0] == 200
        assert request(port, '/stop', 'POST', Origin='https://robot.lab', **headers)[0] == 200
        assert request(port, '/stop', 'POST', Origin='https://evil.example', **headers)[0] == 403


def test_files_outside_of_the_pages_folder_are_not_served():
    with panel() as (_, port):
        for path in ('/../app.py', '/%2e%2e/app.py', '/..%2fapp.py', '/....//app.py', '/%00'):
            assert request(port, path)[0] in (404, 400), path


@pytest.mark.parametrize('arguments, token, problem', [
    (['--host', '0.0.0.0'], None, 'holds no token and --tls-certificate and --tls-key are not'),
    (['--host', '0.0.0.0'], TOKEN, '--tls-certificate and --tls-key are not given: whoever'),
    (['--host', '192.168.0.1', '--tls-certificate', 'x', '--tls-key', 'x'], None, 'no token: who'),
    (['--host', '::', '--tls-key', 'x'], TOKEN, 'given both, or neither'),
    ([], 'short', 'at least 16'),
    (['--port', '99999'], None, 'a free address of this machine'),
    (['--tls-certificate', 'no.pem', '--tls-key', 'no.pem'], None, 'PEM files of a certificate'),
    (['--ros-args', '-p', 'stream.rate:=0.0'], None, 'stream.rate'),
    (['--ros-args', '-p', 'picture.rate:=5.0'], None, 'its new name, stream.rate'),
    (['--ros-args', '-p', 'camera.pose:=[1.0, 2.0]', '-p', 'robot.file:=six_axis_arm'], None,
     'camera.pose: got [1.0, 2.0]'),
    (['--ros-args', '-p', 'robot.file:=nothing', '-p', 'camera.pose:=[0.0,0.0,1.0,0.0,0.0,0.0,1.0]'
      ], None, 'nothing.yaml')])
def test_invalid_options_of_vla_panel_are_one_line(monkeypatch, capfd, arguments, token, problem):
    pytest.importorskip('rclpy')
    pytest.importorskip('vla_ros_msgs')
    monkeypatch.setenv('ROS_DOMAIN_ID', str(next_domain()))
    monkeypatch.delenv(tool.TOKEN_VARIABLE, raising=False)
    if token:
        monkeypatch.setenv(tool.TOKEN_VARIABLE, token)
    assert tool.main(['--port', '0', *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == '' and err.count('\n') == 1 and problem in err, err


def test_a_missing_package_is_one_line(monkeypatch, capfd):
    pytest.importorskip('rclpy')
    monkeypatch.setitem(sys.modules, 'websockets', None)
    assert tool.main(['--port', '0']) == 2
    err = capfd.readouterr().err
    assert err.count('\n') == 1 and 'websockets is not installed' in err and 'pip install' in err


def test_with_token_and_tls_the_panel_serves_the_network(tmp_path):
    if shutil.which('openssl') is None:
        pytest.skip('openssl is not installed: sudo apt install openssl')
    pytest.importorskip('vla_ros_msgs')
    certificate, key = str(tmp_path / 'certificate.pem'), str(tmp_path / 'key.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout',
                    key, '-out', certificate], check=True, capture_output=True)
    trust = ssl.create_default_context(cafile=certificate)
    with panel_process(next_domain(), '--host', '0.0.0.0', '--tls-certificate', certificate,
                       '--tls-key', key, **{tool.TOKEN_VARIABLE: TOKEN}) as port:
        address = f'https://127.0.0.1:{port}/'
        with pytest.raises(HTTPError, match='401'):
            urlopen(address, context=trust)
        get_page = Request(address, headers={'Authorization': f'Bearer {TOKEN}'})
        with urlopen(get_page, context=trust) as reply:
            assert b'STOP' in reply.read()
