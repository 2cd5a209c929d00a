# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The factory: from a configuration to a policy, here, on another machine, or the user's own."""

from collections.abc import Callable
from importlib import import_module

from vla_ros.data.datasets import find_grippers
from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import Policy
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.transformed import TransformedPolicy
from vla_ros.util.packages import missing_package
from vla_ros.util.torch_libraries import preload_torch

# By name: torch is imported only where a model is wanted, and a policy of the user's own is made
# in the same way.
_FACTORIES = {'local': 'vla_ros.model.load:load_checkpoint',
              'remote': 'vla_ros.policy.remote:RemotePolicy',
              'remote openpi': 'vla_ros.policy.openpi:OpenPiPolicy',
              'remote gr00t': 'vla_ros.policy.gr00t:Gr00tPolicy',
              'remote lerobot': 'vla_ros.policy.lerobot:LeRobotPolicy'}


def load_policy(config: PolicyConfig) -> Policy:
    """
    Load a checkpoint, reach the machine that has done so, or call the user's own factory.

    :raises RemoteError: the machine at ``config.url`` does not reply.
    :raises CheckpointError: the folder is missing, incomplete, damaged or of another kind.
    :raises UnnormKeyError: the statistics asked for do not exist, or none was named of several.
    :raises UnsupportedError: this machine cannot run what was asked for, or the own factory is
        not there.
    :raises Cancelled: ``config.progress`` raised it.
    """
    if config.policy != 'remote':
        preload_torch()
    kind = config.policy if config.protocol == 'vla' else f'{config.policy} {config.protocol}'
    factory = _find_factory(kind)
    try:
        policy: Policy = factory(config)
    except ImportError as error:
        raise missing_package(f'policy {config.policy}', error) from error
    if config.policy not in _FACTORIES:
        _check_own(config.policy, policy)
    if not (config.image_transforms or config.action_transforms):
        return policy
    grippers = find_grippers(policy.spec.unnorm_key, config.datasets_file)
    return TransformedPolicy(policy, config.image_transforms, config.action_transforms, grippers)


def _check_own(kind: str, policy: object) -> None:
    if not (isinstance(getattr(policy, 'spec', None), PolicySpec)
            and callable(getattr(policy, 'infer', None))
            and callable(getattr(policy, 'reset', None))):
        raise UnsupportedError(f'policy {kind}', f'it made {policy!r:.60}, which is no policy',
                               'give an object with spec, a PolicySpec, infer and reset')


def _find_factory(kind: str) -> Callable[[PolicyConfig], Policy]:
    module, _, function = _FACTORIES.get(kind, kind).partition(':')
    try:
        imported = import_module(module)
    except ModuleNotFoundError as error:
        if kind in _FACTORIES or not f'{module}.'.startswith(f'{error.name}.'):
            raise missing_package(f'policy {kind}', error) from error
        raise UnsupportedError(f'policy {kind}', f'there is no module {error.name}',
                               'build and source its package, or put it on PYTHONPATH') from None
    factory: Callable[[PolicyConfig], Policy] | None = getattr(imported, function, None)
    if not callable(factory):
        raise UnsupportedError(f'policy {kind}', f'{module} has no function {function}',
                               'name a function that takes a PolicyConfig and gives an object '
                               'with spec, infer and reset')
    return factory
