# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""How long a frame waits for the thread that infers from it."""

import threading
import time

from vla_ros.control.worker import Worker
from vla_ros.policy.base import Policy
from vla_ros.util.progress import ignore_progress

_DEADLINE = 30.0


class Handover:
    """The worker of a node with nothing to do: how long a frame waits for its thread."""

    def __init__(self, policy: Policy) -> None:
        """Start the thread."""
        self.waits_ms: list[float] = []
        self._taken = threading.Event()
        self._worker: Worker[float] = Worker(lambda progress: policy, self._process,
                                             ignore_progress)

    def __enter__(self) -> 'Handover':
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the thread."""
        self._worker.stop(_DEADLINE)

    def wait(self) -> None:
        """Pass a frame on, and wait until it is taken."""
        self._taken.clear()
        self._worker.put(time.perf_counter())
        self._taken.wait(_DEADLINE)

    def _process(self, policy: Policy, put: float) -> None:
        self.waits_ms.append((time.perf_counter() - put) * 1e3)
        self._taken.set()
