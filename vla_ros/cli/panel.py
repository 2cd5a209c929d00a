# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_panel``: a web page for the operator of an arm."""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import ipaddress
import logging
import os
from pathlib import Path
import sys

from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.server.panel.robot import Robot
from vla_ros.util.command_line import run_tool
from vla_ros.util.packages import missing_package
from vla_ros.util.signals import signals_collected

TOKEN_VARIABLE = 'VLA_PANEL_TOKEN'
#: Characters of the shortest token.
SHORTEST_TOKEN = 16
_PORT = 8090


def main(argv: Sequence[str] | None = None) -> int:
    """Run the page until a signal comes."""
    return run_tool('vla_panel', lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    import rclpy
    from rclpy.exceptions import ParameterException
    from vla_ros.ros.arguments import node_parser
    from vla_ros.ros.arguments import start_ros
    from vla_ros.ros.panel_main import run_panel
    from vla_ros.ros.panel_node import PARAMETERS

    parser = node_parser('vla_panel', 'Images, state and buttons of one robot, in a browser. '
                         'Its stop is a software stop, not a certified emergency stop.',
                         PARAMETERS)
    _add_options(parser)
    with signals_collected() as noted:
        arguments = start_ros(parser, ['vla_panel', *(sys.argv[1:] if argv is None else argv)])
        try:
            serve = prepare(arguments, os.environ.get(TOKEN_VARIABLE))
            run_panel(lambda robot: None if noted else serve(robot))
        except ParameterException as error:
            raise VlaError(str(error)) from None
        finally:
            rclpy.try_shutdown()
    return 0


def prepare(arguments: argparse.Namespace, token: str | None) -> Callable[[Robot], None]:
    """
    Check the command line and open the port.

    :returns: what serves a robot until a signal comes.
    :raises VlaError: the page would be open to others, or cannot be served.
    """
    is_local = _is_loopback(arguments.host)
    _check_exposure(arguments, is_local, token)
    try:
        from vla_ros.server.panel.app import create_app
        from vla_ros.server.panel.messages import MAX_BYTES
        from vla_ros.server.uvicorn_server import listen
        from vla_ros.server.uvicorn_server import make_server
        from vla_ros.server.uvicorn_server import WebSockets
        import websockets  # noqa: F401
    except ImportError as error:
        raise missing_package('vla_panel', error) from None
    logging.basicConfig(level=logging.INFO, format='vla_panel: %(message)s', stream=sys.stderr)
    listener = listen(arguments.host, arguments.port)

    def serve(robot: Robot) -> None:
        server = make_server(create_app(robot, token=token, is_local=is_local),
                             arguments.tls_certificate, arguments.tls_key, 'vla_panel',
                             WebSockets(MAX_BYTES))
        scheme = 'https' if arguments.tls_certificate else 'http'
        host = f'[{arguments.host}]' if ':' in arguments.host else arguments.host
        print(f'vla_panel: open {scheme}://{host}:{listener.getsockname()[1]}/', flush=True)
        with listener:
            server.run(sockets=[listener])
    return serve


def _check_exposure(arguments: argparse.Namespace, is_local: bool, token: str | None) -> None:
    """
    Refuse to be reached from other machines without a token and TLS.

    :raises ParameterError: it would be.
    """
    if (arguments.tls_certificate is None) != (arguments.tls_key is None):
        raise ParameterError('--tls-certificate, --tls-key', (arguments.tls_certificate,
                                                              arguments.tls_key),
                             'given both, or neither')
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ParameterError(TOKEN_VARIABLE, f'{len(token)} characters', f'at least '
                             f'{SHORTEST_TOKEN}, as of: openssl rand -hex 16')
    missing = [what for what, is_there in ((f'{TOKEN_VARIABLE} holds no token', token),
                                           ('--tls-certificate and --tls-key are not given',
                                            arguments.tls_certificate)) if not is_there]
    if missing and not is_local:
        raise ParameterError('--host', arguments.host, 'an address of this machine alone, like '
                             f'127.0.0.1, where {" and ".join(missing)}: whoever reaches the '
                             'port could move the robot')


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen on; one that other machines reach wants a token '
                             f'in {TOKEN_VARIABLE}, and TLS')
    parser.add_argument('--port', type=int, default=_PORT, metavar='N', help='0: any free one')
    parser.add_argument('--tls-certificate', type=Path, metavar='FILE',
                        help='PEM file of a certificate chain: serve https')
    parser.add_argument('--tls-key', type=Path, metavar='FILE', help='PEM file of its key')


if __name__ == '__main__':
    sys.exit(main())
