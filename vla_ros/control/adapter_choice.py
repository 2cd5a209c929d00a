# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Which LoRA adapter is wanted: set by any thread, applied by the thread that infers."""

from collections.abc import Callable
from collections.abc import Sequence
import logging

from vla_ros.errors import ParameterError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import AdaptablePolicy
from vla_ros.policy.base import Observation

_logger = logging.getLogger(__name__)

#: Name under which the checkpoint is chosen without any adapter.
BASE = 'base'


class AdapterChoice:
    """The wanted adapter, and the one that is in place."""

    def __init__(self, entries: Sequence[str], name: str) -> None:
        """
        Read the adapters, as the parameters give them.

        :param entries: ``NAME=FOLDER`` each.
        :param name: of the first wanted one, see :meth:`choose`.
        :raises ParameterError: an entry or the name is not valid.
        """
        self.folders: dict[str, str] = {}
        for entry in entries:
            key, _, folder = entry.partition('=')
            if not (key and folder) or key == BASE or key in self.folders:
                raise ParameterError('adapters', entry, f'NAME=FOLDER, with a name of its own '
                                                        f'other than {BASE!r}')
            self.folders[key] = folder
        self._wanted = self._find(name)
        self._in_place = self._wanted

    def begin(self) -> str | None:
        """
        Start anew with a policy that is about to be loaded.

        :returns: the adapter to load it with, which is then in place; None if there is none.
        """
        # A policy with adapters comes up with one of them; the base is chosen afterwards.
        loaded = self._wanted if self._wanted in self.folders else next(iter(self.folders), None)
        self._in_place = loaded or ''
        return loaded

    @property
    def in_place(self) -> str:
        """Name of the active adapter, :data:`BASE` for none of them, empty if none is."""
        return self._in_place

    def choose(self, name: str) -> None:
        """
        Want another adapter; empty for the first one, :data:`BASE` for none.

        :raises ParameterError: there is none of that name, or nothing to switch.
        """
        self._wanted = self._find(name)

    def apply(self, policy: AdaptablePolicy) -> bool:
        """
        Activate the wanted adapter; to be called by the thread that infers.

        :returns: whether it was another one.
        """
        wanted = self._wanted
        if wanted == self._in_place:
            return False
        policy.select_adapter(None if wanted == BASE else wanted)
        self._in_place = wanted
        return True

    def _find(self, name: str) -> str:
        names = list(self.folders)
        # A single adapter is merged into the weights, and cannot be taken out of them again.
        allowed = [*names, BASE] if len(names) > 1 else names
        if name and name not in allowed:
            raise ParameterError('adapter', name, f'one of {", ".join(allowed)}' if allowed else
                                 'empty where adapters names none')
        return name or next(iter(names), '')


class SwitchingPolicy:
    """A policy that activates the wanted adapter before each inference."""

    def __init__(self, policy: AdaptablePolicy, choice: AdapterChoice,
                 switched: Callable[[str], None]) -> None:
        """
        Wrap a policy.

        :param switched: called with the name of an adapter that has become the active one.
        """
        self.spec = policy.spec
        self._policy = policy
        self._choice = choice
        self._switched = switched

    def infer(self, observation: Observation) -> ActionChunk:
        """Infer; see :meth:`vla_ros.policy.base.Policy.infer`."""
        if self._choice.apply(self._policy):
            self._policy.reset()  # its memory belongs to another adapter
            _logger.info('adapter %s is active from now on', self._choice.in_place)
            self._switched(self._choice.in_place)
        return self._policy.infer(observation)

    def reset(self) -> None:
        """Discard earlier observations."""
        self._policy.reset()
