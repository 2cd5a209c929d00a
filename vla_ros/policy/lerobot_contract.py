# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
What a policy server of LeRobot declares, compared with the file of keys before anything moves.

Both sides name every input and the action: shape, type, the order of the components, and in words
what a number means. They must agree on all of it.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import math
from typing import Any

from vla_ros.data.lerobot_msgpack import is_segment
from vla_ros.errors import VlaError
from vla_ros.policy.observation_keys import FeatureMeaning
from vla_ros.policy.observation_keys import ObservationKeys
from vla_ros.policy.observation_keys import shorten

#: The mode of execution in which a reply is a chunk of actions and nothing else.
MODE = 'chunk'
# More than any robot has.
_MOST = 1000
# A period may be rounded in a description of a dataset.
_PERIOD_TOLERANCE = 0.01


class ContractError(VlaError):
    """A server's declarations that violate the protocol, or differ from the file of keys."""


@dataclass(frozen=True)
class Feature:
    """
    An input or the action, as the protocol writes it.

    :param kind: ``rgb``, uint8 (height, width, 3), or ``tensor``.
    :param names: of the components of a vector, in their order.
    :param semantics: what the numbers mean, in words of the server's owner.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    names: tuple[str, ...]
    semantics: str


@dataclass(frozen=True)
class Contract:
    """
    What a server takes and gives.

    :param instance: the server's process.
    :param artifact: identity of its checkpoint.
    :param semantics: the convention of the whole deployment.
    :param features: the inputs in the server's order.
    :param steps: actions in a reply.
    :param interval_s: from one action to the next.
    """

    instance: str
    artifact: str
    semantics: str
    features: tuple[Feature, ...]
    action: Feature
    steps: int
    interval_s: float

    def request(self) -> dict[str, Any]:
        """Write the request for a session on these terms, as the protocol has it."""
        return {'expected_artifact': self.artifact,
                'features': [asdict(feature) for feature in self.features],
                'action_feature': asdict(self.action), 'semantics': self.semantics,
                'action_interval': self.interval_s, 'mode': MODE, 'encoding': 'raw'}


def read_contract(body: Mapping[str, Any], deployment: str) -> Contract:
    """
    Read what a server says about itself.

    :raises ContractError: it has another form, is not ready, or gives no plain chunks.
    """
    if body.get('deployment') != deployment:
        raise ContractError(f'the server is deployment {shorten(body.get("deployment"))}, asked '
                            f'was {deployment}')
    if body.get('ready') is not True:
        raise ContractError(f'the server is not ready: {_line(body.get("failure"))}')
    if not is_segment(body.get('instance_id')):
        raise ContractError(f'instance_id: got {shorten(body.get("instance_id"))}, it must be a '
                            'name')
    capabilities = body.get('capabilities')
    if not isinstance(capabilities, Mapping):
        raise ContractError(f'capabilities: got {shorten(capabilities)}, they must be a map')
    _check_mode(capabilities)
    features = capabilities.get('features')
    if not isinstance(features, list) or len(features) > _MOST:
        raise ContractError(f'features: got {shorten(features)}, they must be a list')
    inputs = tuple(_read_feature(entry) for entry in features)
    if len({feature.name for feature in inputs}) != len(inputs):
        raise ContractError('features: a name is there twice')
    return Contract(
        body['instance_id'], _text('artifact_identity', body), _text('semantics', body), inputs,
        _read_feature(capabilities.get('action_feature')),
        _whole('execution_steps', capabilities.get('execution_steps')),
        _interval(capabilities.get('action_interval')))


def compare_contract(contract: Contract, keys: ObservationKeys, period_s: float | None) -> None:
    """
    Compare what a server takes and gives with the file of keys.

    :param keys: a file of this protocol.
    :param period_s: from one action to the next by the description of the dataset; None: it has
        none.
    :raises ContractError: they differ; the sentence names both sides.
    """
    meanings = keys.lerobot
    assert meanings is not None
    if meanings.artifact and contract.artifact != meanings.artifact:
        raise _differ('artifact', contract.artifact, meanings.artifact)
    if contract.semantics != meanings.semantics:
        raise _differ('semantics', contract.semantics, meanings.semantics)
    images = {key[0]: None for key in keys.images}
    state = {key[0]: (length,) for key, length in keys.state}
    names = {feature.name for feature in contract.features}
    if names != {*images, *state}:
        raise _differ('inputs', _join(names), _join({*images, *state}))
    for feature in contract.features:
        if feature.name in images:
            _compare_image(feature, keys.image_size)
        else:
            _compare_vector(feature, state[feature.name], ('float32', 'float64'))
        _compare_meaning(feature, meanings.features[feature.name])
    action = contract.action
    if action.name != keys.actions[0][0]:
        raise _differ('action', action.name, keys.actions[0][0])
    _compare_vector(action, keys.action_lengths, ('float32',))
    _compare_meaning(action, meanings.features[action.name])
    if contract.steps != keys.steps:
        raise _differ('actions in a chunk', contract.steps, keys.steps)
    if period_s is not None and not math.isclose(contract.interval_s, period_s,
                                                 rel_tol=_PERIOD_TOLERANCE):
        raise ContractError(f'action: the server gives one every {contract.interval_s:g} s, '
                            f'dataset {keys.dataset} has one every {period_s:g} s')


def _check_mode(capabilities: Mapping[str, Any]) -> None:
    modes = capabilities.get('modes')
    if not isinstance(modes, list) or MODE not in modes:
        raise ContractError(f'modes: the server has {shorten(modes)}, a node takes {MODE}')
    if capabilities.get('action_representation', 'canonical') != 'canonical':
        raise ContractError('action_representation: the server gives '
                            f'{shorten(capabilities["action_representation"])}, a node takes '
                            'canonical actions')
    if capabilities.get('current_observation_only', True) is not True:
        raise ContractError('the server wants earlier observations, a node has the present one')


def _read_feature(entry: object) -> Feature:
    if not isinstance(entry, Mapping):
        raise ContractError(f'feature: got {shorten(entry)}, it must be a map')
    name, shape = _text('name', entry), entry.get('shape')
    names = entry.get('names', [])
    if not isinstance(shape, list) or not 0 < len(shape) <= 4 or not all(
            type(size) is int and 0 < size <= 16384 for size in shape):
        raise ContractError(f'{shorten(name)}: shape: got {shorten(shape)}, it must be one to '
                            'four sizes')
    if not isinstance(names, list) or len(names) > _MOST or not all(
            isinstance(component, str) for component in names):
        raise ContractError(f'{shorten(name)}: names: got {shorten(names)}, it must be a list of '
                            'names')
    kind = entry.get('kind', 'tensor')
    if kind not in ('tensor', 'rgb'):
        raise ContractError(f'{shorten(name)}: kind: got {shorten(kind)}, it must be tensor or '
                            'rgb')
    return Feature(name, tuple(shape), _text('dtype', entry), kind, tuple(names),
                   _text('semantics', entry))


def _compare_image(feature: Feature, size: tuple[int, int] | None) -> None:
    if feature.kind != 'rgb' or len(feature.shape) != 3 or feature.shape[2] != 3 \
            or feature.dtype != 'uint8':
        raise _differ(feature.name, f'{feature.kind} {feature.dtype} {list(feature.shape)}',
                      'an image, rgb uint8 [height, width, 3]')
    if size is not None and feature.shape[:2] != size:
        raise _differ(f'{feature.name}: height and width', list(feature.shape[:2]), list(size))


def _compare_vector(feature: Feature, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    if feature.kind != 'tensor' or feature.shape != shape or feature.dtype not in dtypes:
        raise _differ(feature.name, f'{feature.kind} {feature.dtype} {list(feature.shape)}',
                      f'tensor {" or ".join(dtypes)} {list(shape)}')


def _compare_meaning(feature: Feature, meaning: FeatureMeaning) -> None:
    if feature.names != meaning.names:
        raise _differ(f'{feature.name}: names', _list(feature.names), _list(meaning.names))
    if feature.semantics != meaning.semantics:
        raise _differ(f'{feature.name}: semantics', feature.semantics, meaning.semantics)


def _differ(what: str, theirs: object, mine: object) -> ContractError:
    return ContractError(f'{what}: the server has {_line(theirs)}, the file of keys has '
                         f'{_line(mine)}')


def _line(value: object) -> str:
    text = ' '.join(str(value).split())
    return text if len(text) <= 200 else f'{text[:197]}...'


def _join(names: Iterable[str]) -> str:
    return ', '.join(sorted(names)) or 'none'


def _list(names: tuple[str, ...]) -> str:
    return ', '.join(names) or 'none'


def _text(key: str, entries: Mapping[str, Any]) -> str:
    value = entries.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ContractError(f'{key}: got {shorten(value)}, it must be a text')
    return value


def _whole(key: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MOST:
        raise ContractError(f'{key}: got {shorten(value)}, it must be a whole number from 1 to '
                            f'{_MOST}')
    return value


def _interval(value: object) -> float:
    if type(value) not in (int, float) or not 0.0 < value < math.inf:  # type: ignore[operator]
        raise ContractError(f'action_interval: got {shorten(value)}, it must be seconds above '
                            'zero')
    return float(value)  # type: ignore[arg-type]
