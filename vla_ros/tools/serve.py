# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_serve``: the official REST servers' ``/act``, for any checkpoint of the family."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
import hmac
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
import io
import logging
import math
import os
import socket
import sys
import threading
import time
from typing import Any

from vla_ros.errors import ParameterError
from vla_ros.errors import UnnormKeyError
from vla_ros.policy import load_policy
from vla_ros.policy import Policy
from vla_ros.policy import Progress
from vla_ros.rest import Reply
from vla_ros.rest import Rescale
from vla_ros.rest import Service
from vla_ros.tools.command_line import progress_bar
from vla_ros.tools.command_line import run_tool
from vla_ros.tools.model_options import add_model_options
from vla_ros.tools.model_options import make_policy_config

_LOG = logging.getLogger(__name__)

API_KEY_VARIABLE = 'VLA_API_KEY'
# The official ports of the two servers.
_PORT, _OFT_PORT = 8000, 8777
_MEGABYTE = 2**20
# Seconds that a client may be silent, or take to read a reply, and that it may take to send one
# request, from its first byte to its last.
_READ_TIMEOUT = 10.0
_REQUEST_TIMEOUT = 30.0
_PIECE = 2**16
# Connections at a time; a robot has one.
_MAX_CONNECTIONS = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until it is interrupted."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_serve', lambda: serve(arguments))


def serve(arguments: argparse.Namespace) -> int:
    """Load, then answer requests."""
    if not 0 < arguments.max_megabytes < math.inf:
        raise ParameterError('--max-megabytes', arguments.max_megabytes, 'above 0')
    logging.basicConfig(level=logging.INFO, format='vla_serve: %(message)s', stream=sys.stderr)
    with progress_bar() as progress:
        policy, undecided = _load(arguments, progress)
    # OpenVLA answers with one action, OFT with a chunk, each in its own protocol.
    oft = policy.spec.action_shape[0] > 1
    service = Service(policy, _rescaler(policy, not undecided), oft, arguments.strict, undecided)
    port = arguments.port if arguments.port is not None else (_OFT_PORT if oft else _PORT)
    try:
        server = Server((arguments.host, port), service, os.environ.get(API_KEY_VARIABLE),
                        int(arguments.max_megabytes * _MEGABYTE))
    except (OSError, OverflowError) as error:
        raise ParameterError('--host, --port', (arguments.host, port),
                             f'a free address of this machine ({error})') from None
    with server:
        print(f'vla_serve: listening on http://{arguments.host}:{server.server_port}/act',
              flush=True)
        server.serve_forever()
    return 0


def _load(arguments: argparse.Namespace,
          progress: Progress) -> tuple[Policy, Sequence[str]]:
    """
    Load the policy; without a key every request must name one, as officially.

    :return: the policy, and the datasets that a request must choose from, if no key was given.
    :raises UnnormKeyError: the key does not exist, or the protocol has no room for one.
    """
    config = make_policy_config(arguments, image_count=arguments.images, progress=progress)
    try:
        return load_policy(config), ()
    except UnnormKeyError as error:
        if arguments.unnorm_key is not None or not error.available:
            raise
        from vla_ros.model.load import decodes_tokens
        if not decodes_tokens(config):
            raise  # a request to OFT's server names no dataset
        return load_policy(replace(config, unnorm_key=error.available[0])), error.available


def _rescaler(policy: Any, has_default: bool) -> Rescale:
    def rescale(chunk, key):  # type: ignore[no-untyped-def]
        if key is None and has_default or key == policy.spec.unnorm_key:
            return chunk.actions
        return policy.rescale(chunk, key)
    return rescale


class PatientFile(io.RawIOBase):
    """
    Reads a connection for as long as its client keeps to the limits.

    A socket's own timeout begins anew with every byte: whoever sends one now and then could keep
    a connection for ever.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Wait for a request."""
        self._connection = connection
        self._end = math.inf

    def begin(self) -> None:
        """Wait for the next request; its time begins with its first byte."""
        self._end = math.inf

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """
        Read what comes next.

        :raises TimeoutError: the client was silent, or takes too long for its request.
        """
        left = self._end - time.monotonic()
        if left <= 0.0:
            raise TimeoutError(f'a request took more than {_REQUEST_TIMEOUT:g} s')
        self._connection.settimeout(min(_READ_TIMEOUT, left))
        count = self._connection.recv_into(buffer)
        self._end = min(self._end, time.monotonic() + _REQUEST_TIMEOUT)
        # A reply has its own time.
        self._connection.settimeout(_READ_TIMEOUT)
        return count


class Server(ThreadingHTTPServer):
    """
    Python's own HTTP server, bounded in connections, request size and patience.

    No web framework: the protocol is one POST with a JSON body, and what a framework would bring,
    hundreds of routes and an event loop, would have to be installed and kept on every robot.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], service: Service, api_key: str | None,
                 max_bytes: int) -> None:
        self.service = service
        self.api_key = api_key
        self.max_bytes = max_bytes
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, or refuse it."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log in one line what broke a connection."""
        _LOG.info('connection from %s ended: %s', client_address, sys.exc_info()[1])


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = 'HTTP/1.1'
    server_version = 'vla_serve'
    sys_version = ''
    # Small answers must not wait for more to send.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Read with patience that ends."""
        super().setup()
        self.rfile.close()
        self._incoming = PatientFile(self.connection)
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        self._incoming.begin()
        super().handle_one_request()

    def do_GET(self) -> None:  # noqa: N802
        """Describe the policy."""
        if self.path != '/spec':
            self._send(_detail(404, 'Not Found'))
        elif self._authorized():
            self._send(self.server.service.spec())

    def do_POST(self) -> None:  # noqa: N802
        """Answer a request."""
        answers = {'/act': self.server.service.act, '/infer': self.server.service.infer}
        if self.path not in answers:
            self.close_connection = True
            self._send(_detail(404, 'Not Found'))
            return
        if not self._authorized():
            return
        body = self._read_body()
        if body is not None:
            self._send(answers[self.path](body))

    def _authorized(self) -> bool:
        expected = self.server.api_key
        if not expected:
            return True
        given = self.headers.get('Authorization', '').removeprefix('Bearer ')
        if hmac.compare_digest(given.encode('utf-8', 'replace'), expected.encode()):
            return True
        self.close_connection = True  # its body was not read
        self._send(_detail(401, 'Unauthorized'))
        return False

    def _read_body(self) -> bytes | None:
        """Read exactly the announced number of bytes, None if the request was refused."""
        length = self.headers.get('Content-Length', '')
        if not length.isdecimal() or 'Transfer-Encoding' in self.headers:
            problem = _detail(411, 'Length Required')
        elif len(length) > 12 or int(length) > self.server.max_bytes:
            problem = _detail(413, f'Content Too Large: at most {self.server.max_bytes} bytes')
        else:
            return self._receive(int(length))
        self.close_connection = True
        self._send(problem)
        return None

    def _receive(self, length: int) -> bytes:
        body = bytearray()
        while len(body) < length:
            piece = self.rfile.read1(min(_PIECE, length - len(body)))
            if not piece:
                raise ConnectionError('the request ended early')
            body += piece
        return bytes(body)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(reply.body)))
        if self.close_connection:
            self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep one request one debug line."""
        _LOG.debug(format, *args)


def _detail(status: int, text: str) -> Reply:
    return Reply(status, f'{{"detail":"{text}"}}'.encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='vla_serve', description=__doc__,
        epilog=f'If the environment variable {API_KEY_VARIABLE} is set, every request must carry '
               'it as "Authorization: Bearer KEY". Without --unnorm-key every request to an '
               'OpenVLA checkpoint of several datasets must name one, as officially.')
    add_model_options(parser)
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen on; 0.0.0.0 for the whole network')
    parser.add_argument('--port', type=int, metavar='N',
                        help=f'default {_PORT}, {_OFT_PORT} for OFT; 0: any free one')
    parser.add_argument('--strict', action='store_true',
                        help='answer failures of /act with a status and a reason, not with 200 '
                             'and "error"')
    parser.add_argument('--images', type=int, default=1, metavar='N',
                        help='images of an observation, for OFT')
    parser.add_argument('--max-megabytes', type=float, default=64.0, metavar='MB',
                        help='largest request that is read')
    return parser


if __name__ == '__main__':
    sys.exit(main())
