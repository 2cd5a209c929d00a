# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The common part of policies behind servers of other projects."""

from abc import ABC
from abc import abstractmethod
import time

import numpy as np

from vla_ros.data.datasets import load_datasets
from vla_ros.errors import ParameterError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.observation_keys import ActionsError
from vla_ros.policy.observation_keys import ObservationKeys
from vla_ros.policy.remote import RemoteError


class KeyedPolicy(ABC):
    """
    Asks a server for the actions of an observation, both under the keys of a file.

    A protocol is a subclass: it exchanges one observation for one reply within the deadline, and
    knows how to make sure that whatever comes later goes nowhere.
    """

    def __init__(self, config: PolicyConfig, keys: ObservationKeys) -> None:
        """Set the spec, by the file of keys."""
        self._keys = keys
        self._url = config.url
        self._deadline = config.deadline_s
        dataset = load_datasets(config.datasets_file).get(keys.dataset)
        self._period = dataset.period_s if dataset else None
        self.spec = PolicySpec(
            f'{config.protocol} {config.url}', keys.dataset, keys.action_shape, len(keys.images),
            keys.state_length, 'remote', 'unknown', 'unknown', 'chosen by the server', 'unknown')

    def infer(self, observation: Observation) -> ActionChunk:
        """
        Infer from one observation; see :meth:`vla_ros.policy.base.Policy.infer`.

        :raises ObservationError: it has other cameras or another state than the file of keys.
        :raises RemoteError: no actions came before the deadline.
        """
        began = time.monotonic()
        reply, infer_ms = self._ask(observation)
        try:
            actions = self._keys.read_actions(reply)
        except ActionsError as error:
            self._close()
            raise self._error(error) from None
        timings = _timings(infer_ms, (time.monotonic() - began) * 1e3)
        return ActionChunk(actions, actions, (), (), np.zeros(0, np.float32),
                           observation.instruction, (), timings, self._period)

    def reset(self) -> None:
        """Discard earlier observations: the server keeps none."""

    def select_adapter(self, name: str | None) -> None:
        """
        Refuse: adapters are chosen where the model runs.

        :raises ParameterError: always.
        """
        raise ParameterError('adapter', name, 'chosen where the server runs')

    @abstractmethod
    def _ask(self, observation: Observation) -> tuple[object, object]:
        """
        Exchange an observation for a reply, within the deadline as a whole.

        :returns: the unchecked reply, and the milliseconds that the server states
            it took, if it says so.
        :raises ObservationError: the observation does not fit the file of keys.
        :raises RemoteError: it failed or took too long; then the connection is closed.
        """

    @abstractmethod
    def _close(self) -> None:
        """Make sure that nothing that comes later is taken for a reply."""

    def _error(self, problem: object) -> RemoteError:
        return RemoteError(f'remote policy {self._url}: {problem}')


def read_text_error(text: str) -> str:
    """Return the last line of what a server says about its error, in at most 300 characters."""
    lines = [line for line in text.splitlines() if line.strip()]
    return f'the server reports: {lines[-1].strip()[:300] if lines else "nothing"}'


def _timings(infer_ms: object, elapsed_ms: float) -> dict[str, float]:
    """Return milliseconds by stage; the server's own are for information and may be left out."""
    if type(infer_ms) not in (int, float) or not 0.0 <= infer_ms <= elapsed_ms:  # type: ignore
        return {'network': elapsed_ms}
    return {'infer': float(infer_ms), 'network': elapsed_ms - infer_ms}  # type: ignore
