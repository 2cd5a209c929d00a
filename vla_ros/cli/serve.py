# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_serve``: the official REST servers' ``/act``, or openpi's protocol, for any checkpoint."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
import ipaddress
import logging
import math
import os
from pathlib import Path
import sys

from vla_ros.cli.model_options import add_model_options
from vla_ros.cli.model_options import make_policy_config
from vla_ros.errors import ParameterError
from vla_ros.errors import UnnormKeyError
from vla_ros.policy.base import Policy
from vla_ros.policy.choices import SERVED_PROTOCOLS
from vla_ros.policy.load import load_policy
from vla_ros.util.argument_parser import ArgumentParser
from vla_ros.util.command_line import progress_bar
from vla_ros.util.command_line import run_tool
from vla_ros.util.packages import missing_package
from vla_ros.util.progress import Progress

API_KEY_VARIABLE = 'VLA_API_KEY'
# The official ports of the two servers.
_PORT, _OFT_PORT = 8000, 8777
_MEGABYTE = 2**20
# What openpi's clients of LIBERO send.
_LIBERO_KEYS = 'libero'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until it is interrupted."""
    arguments = _parser().parse_args(argv)
    return run_tool('vla_serve', lambda: serve(arguments))


def serve(arguments: argparse.Namespace) -> int:
    """Load the policy and run the application until a signal ends it."""
    key = os.environ.get(API_KEY_VARIABLE)
    _check_exposure(arguments.host, key, arguments.insecure)
    if not 0 < arguments.max_megabytes < math.inf:
        raise ParameterError('--max-megabytes', arguments.max_megabytes, 'above 0')
    if (arguments.tls_certificate is None) != (arguments.tls_key is None):
        raise ParameterError('--tls-certificate, --tls-key', (arguments.tls_certificate,
                                                              arguments.tls_key),
                             'given both, or neither')
    is_openpi = arguments.protocol == 'openpi'
    if arguments.keys_file is not None and not is_openpi:
        raise ParameterError('--keys-file', arguments.keys_file, 'given with --protocol openpi')
    try:
        from vla_ros.server.uvicorn_server import listen
        from vla_ros.server.uvicorn_server import make_server
        from vla_ros.server.uvicorn_server import WebSockets
        # What a missing package hinders is said before the checkpoint is loaded.
        import_module('vla_ros.server.openpi' if is_openpi else 'vla_ros.server.app')
    except ImportError as error:
        raise missing_package('serving', error) from None
    logging.basicConfig(level=logging.INFO, format='vla_serve: %(message)s', stream=sys.stderr)
    with progress_bar() as progress:
        policy, undecided = _load(arguments, progress)
    make_app = _make_openpi_app if is_openpi else _make_rest_app
    limits = WebSockets(_max_bytes(arguments)) if is_openpi else None
    server = make_server(make_app(policy, key, arguments, undecided), arguments.tls_certificate,
                         arguments.tls_key, websockets=limits)
    port = arguments.port
    if port is None:
        is_oft = policy.spec.action_shape[0] > 1 and not is_openpi
        port = _OFT_PORT if is_oft else _PORT
    with listen(arguments.host, port) as listener:
        scheme = ('ws' if is_openpi else 'http') + ('s' if arguments.tls_certificate else '')
        print(f'vla_serve: listening on {scheme}://{arguments.host}:{listener.getsockname()[1]}'
              f'{"" if is_openpi else "/act"}', flush=True)
        server.run(sockets=[listener])
    return 0


def _make_rest_app(policy: Policy, key: str | None, arguments: argparse.Namespace,
                   undecided: Sequence[str]) -> object:
    from vla_ros.server.app import create_app
    return create_app(policy, api_key=key, max_bytes=_max_bytes(arguments),
                      max_batch=arguments.max_batch, max_wait_s=arguments.batch_wait / 1e3,
                      strict=arguments.strict, undecided=undecided)


def _make_openpi_app(policy: Policy, key: str | None, arguments: argparse.Namespace,
                     undecided: Sequence[str]) -> object:
    from vla_ros.policy.keys_file import load_keys
    from vla_ros.server.openpi import create_openpi_app
    if undecided:
        raise UnnormKeyError(None, list(undecided))  # a request names no dataset
    return create_openpi_app(policy, load_keys(arguments.keys_file or _LIBERO_KEYS), api_key=key,
                             max_batch=arguments.max_batch,
                             max_wait_s=arguments.batch_wait / 1e3)


def _max_bytes(arguments: argparse.Namespace) -> int:
    return int(arguments.max_megabytes * _MEGABYTE)


def _check_exposure(host: str, key: str | None, is_insecure: bool) -> None:
    """
    Refuse to serve a network without a key, unless that is asked for.

    :raises ParameterError: the address is not of this machine alone, and nobody needs a key.
    """
    if key or _is_loopback(host):
        return
    if not is_insecure:
        raise ParameterError(
            '--host', host, f'an address of this machine alone, like 127.0.0.1, where the '
            f'environment variable {API_KEY_VARIABLE} holds no key: whoever reaches the port '
            'could use the model and read what robots see; --insecure serves all the same')
    print(f'vla_serve: --insecure: whoever reaches {host} can use the model; set '
          f'{API_KEY_VARIABLE} to want a key', file=sys.stderr)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _load(arguments: argparse.Namespace,
          progress: Progress) -> tuple[Policy, Sequence[str]]:
    """
    Load the policy; without a key every request must name one, as officially.

    :returns: the policy, and the datasets that a request must choose from, if no key was given.
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


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog='vla_serve', description=__doc__,
        epilog=f'If the environment variable {API_KEY_VARIABLE} is set, every request must carry '
               'it as "Authorization: Bearer KEY", or "Api-Key KEY". Without --unnorm-key every '
               'request to an OpenVLA checkpoint of several datasets must name one, as '
               'officially.')
    add_model_options(parser)
    parser.add_argument('--protocol', default='vla', choices=SERVED_PROTOCOLS,
                        help='vla: REST, as the official servers; openpi: msgpack over a '
                             'websocket, for the clients of openpi')
    parser.add_argument('--keys-file', metavar='FILE',
                        help='where an observation of openpi holds images, state and prompt; '
                             "default: as openpi's clients of LIBERO")
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen on; 0.0.0.0 for the whole network, which wants '
                             f'a key in {API_KEY_VARIABLE}, or --insecure')
    parser.add_argument('--insecure', action='store_true',
                        help='serve a network without a key')
    parser.add_argument('--port', type=int, metavar='N',
                        help=f'default {_PORT}, {_OFT_PORT} for OFT; 0: any free one')
    parser.add_argument('--tls-certificate', type=Path, metavar='FILE',
                        help='PEM file of a certificate chain: serve https')
    parser.add_argument('--tls-key', type=Path, metavar='FILE', help='PEM file of its key')
    parser.add_argument('--strict', action='store_true',
                        help='answer failures of /act with a status and a reason, not with 200 '
                             'and "error"')
    parser.add_argument('--images', type=int, default=1, metavar='N',
                        help='images of an observation, for OFT')
    parser.add_argument('--max-batch', type=int, default=8, metavar='N',
                        help='requests that are answered in one pass')
    parser.add_argument('--batch-wait', type=float, default=5.0, metavar='MS',
                        help='longest time that a request waits for others to join it')
    parser.add_argument('--max-megabytes', type=float, default=64.0, metavar='MB',
                        help='largest request that is read')
    return parser


if __name__ == '__main__':
    sys.exit(main())
