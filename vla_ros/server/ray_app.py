# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
``vla_serve`` on several GPUs or machines: an application for Ray Serve.

``serve run vla_ros.server.ray_app:build checkpoint=DIR device=cpu``, or ``serve deploy`` with a
file like ``config/ray/serve.yaml``. Each replica is a process with the model and the ASGI
application of ``vla_serve``: batches, turns, deadlines and refusals are the same. Ray distributes
requests, watches replicas and replaces them.
"""

from collections.abc import Callable
from collections.abc import Mapping
import os
from typing import Any

from starlette.applications import Starlette

from vla_ros.errors import ParameterError
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.policy.remote import API_KEY_VARIABLE
from vla_ros.server.app import create_app
from vla_ros.server.app import MAX_WAITING

#: Where a replica runs; what Ray gives it follows from that, so nothing is guessed.
_DEVICES = ('cpu', 'cuda')


def _whole(value: Any) -> int:
    return int(str(value))  # 1.5 is none


# Arguments come from a command line, as strings, or from YAML.
_POLICY: Mapping[str, Callable[[Any], Any]] = {
    'checkpoint': str, 'revision': str, 'unnorm_key': str, 'device': str, 'dtype': str,
    'attention': str, 'quantization': str, 'prompt': str, 'head': str, 'datasets_file': str,
    'image_count': _whole, 'chunk_length': _whole}
_SETTINGS: Mapping[str, Callable[[Any], Any]] = {
    'max_batch': _whole, 'max_wait_s': float, 'replicas': _whole}


def build(args: Mapping[str, Any]) -> Any:
    """
    Make the application.

    :param args: fields of :class:`vla_ros.policy.config.PolicyConfig`, of which checkpoint and
        device, cpu or cuda, must be there; ``max_batch`` and ``max_wait_s`` of
        :class:`vla_ros.server.batching.BatchCollector`; ``replicas``, 1 where it is not there.
    :returns: a ``ray.serve.Application``.
    :raises ParameterError: an argument is unknown, missing or not allowed.
    """
    from ray import serve
    config, settings = read_arguments(args)
    replicas = settings.pop('replicas', 1)
    # A replica refuses what its own engine cannot do in time, so Ray's queue before it is to stay
    # empty. Ray replaces a replica that fails three checks.
    deployment = serve.deployment(
        name='VlaServe', num_replicas=replicas, max_ongoing_requests=2 * MAX_WAITING,
        health_check_period_s=1.0, health_check_timeout_s=10.0, graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={'num_gpus': 1 if config.device == 'cuda' else 0})
    return deployment(serve.ingress()(Replica)).bind(config, settings)


def read_arguments(args: Mapping[str, Any]) -> tuple[PolicyConfig, dict[str, Any]]:
    """
    Read the arguments of :func:`build`.

    :returns: what the policy is, and the other ones.
    :raises ParameterError: see there.
    """
    known = {**_POLICY, **_SETTINGS}
    values = {}
    for name, value in args.items():
        if name not in known:
            raise ParameterError(name, value, f'one of {", ".join(sorted(known))}')
        try:
            values[name] = known[name](value)
        except (TypeError, ValueError):
            kind = 'a whole number' if known[name] is _whole else 'a number'
            raise ParameterError(name, value, kind) from None
    if values.get('device') not in _DEVICES:
        raise ParameterError('device', values.get('device'), f'one of {", ".join(_DEVICES)}')
    if values.get('replicas', 1) < 1:
        raise ParameterError('replicas', values['replicas'], '1 or more')
    config = PolicyConfig(**{name: value for name, value in values.items() if name in _POLICY})
    return config, {name: value for name, value in values.items() if name in _SETTINGS}


class Replica:
    """One process of the deployment: a policy, its batching engine and the application."""

    def __init__(self, config: PolicyConfig, batches: Mapping[str, Any]) -> None:
        """
        Load the policy.

        :raises VlaError: see :func:`vla_ros.policy.load.load_policy`.
        """
        self._app = create_app(load_policy(config), api_key=os.environ.get(API_KEY_VARIABLE),
                               **batches)

    def __serve_build_asgi_app__(self) -> Starlette:
        """Return Ray the application."""
        return self._app

    def check_health(self) -> None:
        """
        Let Ray replace a replica that answers nobody any more.

        :raises DeviceLostError: the device is lost to this process.
        """
        lost = self._app.state.collector.lost
        if lost is not None:
            raise lost
