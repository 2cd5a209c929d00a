# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A policy behind LeRobot's remote inference: negotiated features, msgpack, over Zenoh."""

from dataclasses import replace
from functools import partial
import logging
from typing import Any
from urllib.parse import urlsplit
import weakref

import numpy as np

from vla_ros.data.lerobot_msgpack import is_segment
from vla_ros.data.lerobot_msgpack import RgbImage
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.keyed import KeyedPolicy
from vla_ros.policy.keys_file import KeysError
from vla_ros.policy.keys_file import load_client_keys
from vla_ros.policy.lerobot_connection import Connection
from vla_ros.policy.lerobot_contract import compare_contract
from vla_ros.policy.lerobot_contract import Contract
from vla_ros.policy.lerobot_contract import ContractError
from vla_ros.policy.lerobot_session import LeRobotSession
from vla_ros.policy.observation_keys import ObservationKeys
from vla_ros.policy.observation_keys import shorten
from vla_ros.policy.remote import RemoteError
from vla_ros.policy.zenoh_link import ReplyTimeoutError

_logger = logging.getLogger(__name__)


class LeRobotPolicy(KeyedPolicy):
    """
    Sends every observation to a server and waits for the actions until a deadline.

    The server admits one client. Its session is kept as long as it goes well, a missed deadline
    included; after any other failure it is given back, and the next observation opens a new one.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """
        Compare what the server wants and gives with the file of keys, and be admitted.

        :raises KeysError: the file of keys is missing, not valid, or not for this protocol.
        :raises ParameterError: the address is not valid.
        :raises RemoteError: the server does not answer, wants something else, or has a client.
        """
        import zenoh  # noqa: F401  (whoever lacks it is told so here)
        super().__init__(config, _load_keys(config.keys_file or ''))
        terms = _Terms(self._keys, self._period)
        self._connection = Connection(partial(LeRobotSession, *_split(config.url), terms.check))
        # A server that is not told waits some ten seconds for this client's return.
        self._end = weakref.finalize(self, self._connection.close)
        try:
            self._contract: Contract = self._connection.exchange(
                lambda session, end: session.contract, self._deadline)
        except VlaError as error:
            raise self._name(error) from None
        self._period = self._contract.interval_s
        self.spec = replace(self.spec, revision=self._contract.artifact)
        _logger.info('LeRobot server %s: %.300s', config.url, self._contract)

    def reset(self) -> None:
        """Discard earlier observations: the server resets its policy before the next one."""
        self._connection.forget()

    def _ask(self, observation: Observation) -> tuple[object, object]:
        features = self._write(observation)
        try:
            body = self._connection.exchange(
                lambda session, end: session.infer(features, observation.instruction, end),
                self._deadline)
            return self._read(body)
        except VlaError as error:
            raise self._name(error) from None

    def _close(self) -> None:
        self._connection.drop()

    def _write(self, observation: Observation) -> dict[str, object]:
        """Return each input, in the server's shape and type."""
        wanted = {feature.name: feature for feature in self._contract.features}
        features: dict[str, object] = {}
        for key, image in self._keys.pack_images(observation):
            if image.shape != wanted[key[0]].shape:
                raise ObservationError(
                    f'{key[0]}: the image has {list(image.shape[:2])}, height and width, the '
                    f'server wants {list(wanted[key[0]].shape[:2])}; image_size in the file of '
                    'keys brings it to that')
            # A copy: a thread that is left behind must not read the memory of a message.
            features[key[0]] = RgbImage(image.shape, image.tobytes())
        for key, part in self._keys.pack_state(observation):
            numbers: np.ndarray = part.astype(wanted[key[0]].dtype)
            if not np.isfinite(numbers).all():
                raise ObservationError(f'{key[0]}: a number of the state is not finite')
            features[key[0]] = numbers
        return features

    def _read(self, body: dict[str, Any]) -> tuple[object, object]:
        actions, steps = body.get('canonical_actions'), body.get('execution_steps')
        problem = ''
        if type(steps) is not int or steps != self._contract.steps:
            problem = (f'execution_steps: got {shorten(steps)}, declared were '
                       f'{self._contract.steps}')
        elif isinstance(actions, np.ndarray) and actions.dtype != np.float32:
            problem = f'canonical_actions: got {actions.dtype}, declared was float32'
        if problem:
            self._close()
            raise RemoteError(problem)
        durations = body.get('server_durations')
        worker_s = durations.get('worker') if isinstance(durations, dict) else None
        return ({self._contract.action.name: actions},
                worker_s * 1e3 if type(worker_s) is float else None)

    def _name(self, error: VlaError) -> RemoteError:
        """Add the server to an error, and to a timeout its length."""
        if not isinstance(error, ReplyTimeoutError):
            return self._error(error)
        detail = '' if str(error) == 'no reply' else f': {error}'
        return self._error(f'no reply within {self._deadline:g} s{detail}')


class _Terms:
    """What a server has to declare: what the file of keys says, and the same ever after."""

    def __init__(self, keys: ObservationKeys, period_s: float | None) -> None:
        self._keys = keys
        self._period = period_s
        self._first: Contract | None = None

    def check(self, contract: Contract) -> None:
        """
        Check the terms of a session.

        :raises ContractError: they are others.
        """
        compare_contract(contract, self._keys, self._period)
        first = self._first = self._first or contract
        if contract.artifact != first.artifact:
            raise ContractError(f'the server has checkpoint {shorten(contract.artifact)} now, at '
                                f'the start it was {shorten(first.artifact)}: configure the node '
                                'anew to take it')
        if replace(contract, instance=first.instance) != first:
            raise ContractError('the server declares something else than at the start: configure '
                                'the node anew to take it')


def _load_keys(file: str) -> ObservationKeys:
    keys = load_client_keys(file, 'lerobot')
    names = [*keys.images, *(key for key, _ in keys.state), *keys.actions]
    for key in names:
        if len(key) > 1:
            raise KeysError(f'keys file {file}: {list(key)}: a key of LeRobot is one name')
    if keys.image_layout != 'hwc':
        raise KeysError(f'keys file {file}: image_layout: LeRobot takes hwc alone')
    if keys.prompt != ('task',):
        raise KeysError(f'keys file {file}: prompt: LeRobot takes task alone')
    if len(keys.actions) != 1:
        raise KeysError(f'keys file {file}: actions: LeRobot gives one array, under key')
    if keys.lerobot is None:
        raise KeysError(f'keys file {file}: LeRobot needs lerobot.semantics and '
                        'lerobot.features, too')
    meanings = keys.lerobot.features
    for name in sorted({key[0] for key in names} ^ meanings.keys()):
        raise KeysError(f'keys file {file}: lerobot.features: {name} must be both there and in '
                        'images, state or actions')
    for (name,), length in (*keys.state, (keys.actions[0], keys.action_lengths[0])):
        if len(meanings[name].names) not in (0, length):
            raise KeysError(f'keys file {file}: lerobot.features.{name}.names: they are '
                            f'{len(meanings[name].names)}, for {length} numbers')
    return keys


def _split(url: str) -> tuple[str, str]:
    """Return Zenoh's endpoint and the name of the deployment."""
    try:
        parts = urlsplit(url)
        deployment = parts.path.strip('/')
        if parts.scheme in ('tcp', 'tls') and parts.hostname and parts.port \
                and '@' not in parts.netloc and is_segment(deployment):
            return f'{parts.scheme}/{parts.netloc}', deployment
    except ValueError:
        pass  # a port that is none
    raise ParameterError('url', url, 'like tcp://gpu-machine:7447/DEPLOYMENT')
