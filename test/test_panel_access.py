# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Who may see the operator page: the token, other sites, and the command line's refusals."""

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


def ask(port, path='/', method='GET', body=None, **headers):
    """Give status, headers and body of a reply."""
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request(method, path, body, {
        name.replace('_', '-'): value for name, value in headers.items()})
    reply = connection.getresponse()
    content = reply.read().decode()
    connection.close()
    return reply.status, reply.headers, content


def connects(port, **headers):
    """Tell whether a viewer is let in."""
    try:
        Client(port, additional_headers={
            name.replace('_', '-'): value for name, value in headers.items()}).close()
    except websockets.exceptions.InvalidStatus as error:
        assert error.response.status_code == 403
        return False
    return True


def test_without_the_token_nothing_is_seen_and_nothing_moves():
    with panel(token=TOKEN) as (robot, port):
        for path in ('/', '/index.html', '/panel.js', '/ws', '/nothing', '//', '/../panel.js'):
            status, _, content = ask(port, path)
            assert status == 401 and 'STOP' not in content and 'Connection' not in content, path
        for headers in ({}, {'Authorization': f'Bearer {TOKEN}x'}, {'Authorization': 'Bearer '},
                        {'Authorization': f'Basic {TOKEN}'}, {'Cookie': f'vla_panel_{port}='},
                        {'Cookie': 'vla_panel_0="' + '9' * 3000}, {'Cookie': '\x80;=;;"'}):
            assert ask(port, '/stop', 'POST', **headers)[0] == 401, headers
            assert not connects(port, **headers), headers
        assert robot.done == [] and robot.show is None
        assert ask(port, '/stop', 'POST', Authorization=f'Bearer {TOKEN}')[0] == 200
        assert connects(port, Authorization=f'Bearer {TOKEN}')


def test_a_browser_enters_the_token_once():
    with panel(token=TOKEN) as (_, port):
        status, _, content = ask(port)
        assert status == 401 and 'name="token"' in content
        form = {'Content_Type': 'application/x-www-form-urlencoded'}
        for wrong in ('token=no', '', 'x=' + TOKEN, 'token=%ff%00', 'token='):
            status, headers, _ = ask(port, '/login', 'POST', wrong, **form)
            assert status == 401 and 'set-cookie' not in headers
        assert ask(port, '/login', 'POST', 'x' * 5000, **form)[0] == 413
        status, headers, _ = ask(port, '/login', 'POST', urlencode({'token': TOKEN}), **form)
        assert (status, headers['location']) == (303, '/')
        cookie, *flags = headers['set-cookie'].split('; ')
        assert {'HttpOnly', 'SameSite=strict'} <= set(flags) and TOKEN not in cookie
        status, headers, content = ask(port, Cookie=cookie)
        assert status == 200 and 'STOP' in content
        assert "frame-ancestors 'none'" in headers['content-security-policy']
        assert connects(port, Cookie=cookie)
    with panel(token=TOKEN) as (_, port):
        assert not connects(port, Cookie=f'vla_panel_{port}={cookie.split("=")[1]}'), \
            'what a browser keeps ends with the process'


@pytest.mark.parametrize('headers', [
    {'Origin': 'http://evil.example'}, {'Origin': 'null'}, {'Origin': 'http://127.0.0.1'},
    {'Origin': 'http://127.0.0.1:1'}, {'Host': 'evil.example'}])
def test_another_site_in_the_operators_browser_is_refused(headers):
    with panel() as (robot, port):
        assert ask(port, '/stop', 'POST', **headers)[0] == 403
        assert ask(port, '/', **headers)[0] == 403
        if 'Host' not in headers:
            assert not connects(port, **headers)
            assert connects(port, Origin=f'http://127.0.0.1:{port}')
        assert robot.done == []


def test_requests_by_host_name_are_served_on_the_network_but_not_those_of_other_sites():
    with panel(token=TOKEN, is_local=False) as (_, port):
        headers = {'Host': 'robot.lab', 'Authorization': f'Bearer {TOKEN}'}
        assert ask(port, **headers)[0] == 200
        assert ask(port, '/stop', 'POST', Origin='https://robot.lab', **headers)[0] == 200
        assert ask(port, '/stop', 'POST', Origin='https://evil.example', **headers)[0] == 403


def test_files_outside_of_the_page_are_not_served():
    with panel() as (_, port):
        for path in ('/../app.py', '/%2e%2e/app.py', '/..%2fapp.py', '/....//app.py', '/%00'):
            assert ask(port, path)[0] in (404, 400), path


@pytest.mark.parametrize('arguments, token, problem', [
    (['--host', '0.0.0.0'], None, 'holds no token and --tls-certificate and --tls-key are not'),
    (['--host', '0.0.0.0'], TOKEN, '--tls-certificate and --tls-key are not given: whoever'),
    (['--host', '192.168.0.1', '--tls-certificate', 'x', '--tls-key', 'x'], None, 'no token: who'),
    (['--host', '::', '--tls-key', 'x'], TOKEN, 'given both, or neither'),
    ([], 'short', 'at least 16'),
    (['--port', '99999'], None, 'a free address of this machine'),
    (['--tls-certificate', 'no.pem', '--tls-key', 'no.pem'], None, 'PEM files of a certificate'),
    (['--ros-args', '-p', 'picture.rate:=0.0'], None, 'picture.rate'),
    (['--ros-args', '-p', 'camera.pose:=[1.0, 2.0]', '-p', 'robot.file:=six_axis_arm'], None,
     'camera.pose: got [1.0, 2.0]'),
    (['--ros-args', '-p', 'robot.file:=nothing', '-p', 'camera.pose:=[0.0,0.0,1.0,0.0,0.0,0.0,1.0]'
      ], None, 'nothing.yaml')])
def test_the_command_line_refuses_in_one_line(monkeypatch, capfd, arguments, token, problem):
    pytest.importorskip('rclpy')
    pytest.importorskip('vla_ros_msgs')
    monkeypatch.setenv('ROS_DOMAIN_ID', str(next_domain()))
    monkeypatch.delenv(tool.TOKEN_VARIABLE, raising=False)
    if token:
        monkeypatch.setenv(tool.TOKEN_VARIABLE, token)
    assert tool.main(['--port', '0', *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == '' and err.count('\n') == 1 and problem in err, err


def test_a_missing_library_is_one_line(monkeypatch, capfd):
    pytest.importorskip('rclpy')
    monkeypatch.setitem(sys.modules, 'websockets', None)
    assert tool.main(['--port', '0']) == 2
    err = capfd.readouterr().err
    assert err.count('\n') == 1 and 'websockets is not installed' in err and 'pip install' in err


def test_with_token_and_tls_the_network_is_served(tmp_path):
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
        request = Request(address, headers={'Authorization': f'Bearer {TOKEN}'})
        with urlopen(request, context=trust) as reply:
            assert b'STOP' in reply.read()
