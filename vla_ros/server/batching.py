# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Collects the requests of many robots into batches for one policy.

* A request is held for others only while other robots are expected, never longer than the wait
  that is allowed, and never so long that its own deadline would be missed.
* Clients take turns: one with many requests does not delay one with few.
* What would miss its deadline is refused at once, and what missed it while it waited is not
  computed.
"""

from collections import Counter
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
import math
import threading
import time
from typing import Any

from vla_ros.errors import DeviceLostError
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation

# Share of a new measurement in the expected time of a batch.
_SMOOTHING = 0.3
# Seconds after which a client that asked nothing is not waited for.
_CLIENT_MEMORY = 1.0
# Seconds that the last batch gets.
_END_TIMEOUT = 5.0


class OverloadedError(VlaError):
    """A request that is refused because its result would come too late."""

    def __init__(self, problem: str, retry_after_s: float) -> None:
        """
        Name the number of requests before it and the expected wait.

        :param retry_after_s: seconds after which it may be sent again.
        """
        super().__init__(f'overloaded: {problem}; retry after {retry_after_s:.2g} s')
        self.retry_after_s = retry_after_s


class _Request:

    def __init__(self, observation: Observation, client: str, deadline: float) -> None:
        self.observation = observation
        self.client = client
        self.deadline = deadline
        self.received = time.monotonic()
        self.result: Future[ActionChunk] = Future()


@dataclass
class _Client:
    """What is kept of a client for a second after its last request."""

    last_request: float
    # Those of its last chunk, the draft of its next one.
    token_ids: Sequence[int] = ()


class BatchCollector:
    """One policy, its thread, and the requests that wait for it."""

    def __init__(self, policy: Any, max_batch: int = 8, max_wait_s: float = 0.005,
                 max_waiting: int = 64) -> None:
        """
        Start the thread.

        :param policy: a policy, if possible a :class:`vla_ros.policy.base.BatchPolicy`; any other
            one infers from one observation at a time.
        :param max_batch: observations in a batch; the policy's own limit is kept, too.
        :param max_wait_s: seconds that a request is held for others to join it.
        :param max_waiting: requests that may wait.
        :raises ParameterError: a number is out of its range.
        """
        for name, value, least in (('max_batch', max_batch, 1), ('max_waiting', max_waiting, 1),
                                   ('max_wait_s', max_wait_s, 0)):
            if not least <= value < math.inf:
                raise ParameterError(name, value, f'{least} or more')
        self._policy = policy
        self._can_batch = callable(getattr(policy, 'infer_batch', None))
        self._max_batch = min(max_batch, policy.max_batch) if self._can_batch else 1
        self._max_wait = max_wait_s if self._max_batch > 1 else 0.0
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        # By client, in the order of their turns; a client without requests is not in it.
        self._waiting: dict[str, deque[_Request]] = {}
        self._clients: dict[str, _Client] = {}
        self._running_since: float | None = None
        self._batch_s: float | None = None
        self._batch_sizes: Counter[int] = Counter()
        self._refused = self._late = 0
        self._is_closed = False
        #: Why no request can be served any more; None in normal operation.
        self.lost: DeviceLostError | None = None
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def infer(self, observation: Observation, client: str = '',
              deadline: float = math.inf) -> ActionChunk:
        """
        Wait for the chunk of an observation.

        :param client: whose turn it takes.
        :param deadline: time of ``time.monotonic()`` after which the result is useless.
        :raises OverloadedError: it would be, or is, too late.
        """
        request = _Request(observation, client, deadline)
        with self._changed:
            if self._is_closed:
                raise OverloadedError('the server ends', 1.0)
            self._clients.setdefault(client, _Client(0.0)).last_request = request.received
            self._admit(request)
            self._waiting.setdefault(client, deque()).append(request)
            self._changed.notify_all()
        return request.result.result()

    def statistics(self) -> dict[str, Any]:
        """Count batches by size, requests that wait, and those that were refused or too late."""
        with self._changed:
            return {'batches': {str(size): count
                                for size, count in sorted(self._batch_sizes.items())},
                    'batch_ms': None if self._batch_s is None else round(self._batch_s * 1e3, 3),
                    'max_batch': self._max_batch, 'waiting': self._count(),
                    'refused': self._refused, 'late': self._late}

    def close(self) -> None:
        """End the thread after its batch; what waits is refused."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(_END_TIMEOUT)

    def _count(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _admit(self, request: _Request) -> None:
        """
        Refuse a request that would be too late, or make room for it.

        :raises OverloadedError: it is refused.
        """
        own = len(self._waiting.get(request.client, ()))
        # Who waits when its turn comes: the others take as many turns as it does.
        ahead = own + sum(min(len(queue), own + 1) for client, queue in self._waiting.items()
                          if client != request.client)
        seconds = self._expected_s(ahead)
        if seconds and request.received + seconds > request.deadline:
            self._refused += 1
            raise OverloadedError(f'{ahead} requests are ahead, the result would take '
                                  f'{seconds:.2g} s', seconds)
        if self._count() < self._max_waiting:
            return
        self._refused += 1
        problem = f'{self._max_waiting} requests wait'
        longest = max(self._waiting, key=lambda client: len(self._waiting[client]))
        if len(self._waiting[longest]) <= own + 1:
            raise OverloadedError(problem, self._expected_s(self._max_waiting))
        # The client that has most of them gives up its last.
        self._waiting[longest].pop().result.set_exception(
            OverloadedError(problem, self._expected_s(self._max_waiting)))

    def _expected_s(self, ahead: int) -> float:
        """Estimate the seconds until a result; 0 if nothing delays it, so that it is tried."""
        if self._batch_s is None or not ahead and self._running_since is None:
            return 0.0
        running = 0.0 if self._running_since is None else max(
            0.0, self._running_since + self._batch_s - time.monotonic())
        return running + (ahead // self._max_batch + 1) * self._batch_s

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                while not self._is_closed and self._may_hold():
                    self._changed.wait(self._hold_end() - time.monotonic())
                if self._is_closed:
                    self._refuse_all()
                    return
                self._forget_clients()
                batch = self._take()
                self._running_since = time.monotonic() if batch else None
            if batch:
                self._infer(batch)

    def _may_hold(self) -> bool:
        """Return whether more requests are worth waiting for."""
        now = time.monotonic()
        if self._count() >= self._max_batch or now >= self._hold_end():
            return False
        return any(name not in self._waiting and now - client.last_request < _CLIENT_MEMORY
                   for name, client in self._clients.items())

    def _hold_end(self) -> float:
        requests = [request for queue in self._waiting.values() for request in queue]
        # Half of the time to the deadline: the reply has to be sent, and times vary.
        return min(request.received + min(
            self._max_wait,
            (request.deadline - request.received - (self._batch_s or 0.0)) / 2)
            for request in requests)

    def _take(self) -> list[_Request]:
        """Take a batch, one request of each client in turn; those that are too late go."""
        batch: list[_Request] = []
        while self._waiting and len(batch) < self._max_batch:
            client = next(iter(self._waiting))
            queue = self._waiting.pop(client)
            request = queue.popleft()
            if queue:
                self._waiting[client] = queue  # behind all others
            if time.monotonic() > request.deadline:
                self._late += 1
                request.result.set_exception(OverloadedError(
                    'the deadline passed while earlier requests were served',
                    self._batch_s or 0.0))
            else:
                batch.append(request)
        return batch

    def _forget_clients(self) -> None:
        """Drop clients that neither wait nor asked lately."""
        now = time.monotonic()
        self._clients = {name: client for name, client in self._clients.items()
                         if name in self._waiting
                         or now - client.last_request < _CLIENT_MEMORY}

    def _infer(self, batch: Sequence[_Request]) -> None:
        began = time.monotonic()
        results = self._results(batch)
        seconds = time.monotonic() - began
        with self._changed:
            self._running_since = None
            self._batch_sizes[len(batch)] += 1
            self._batch_s = seconds if self._batch_s is None else (
                self._batch_s + _SMOOTHING * (seconds - self._batch_s))
            for request, result in zip(batch, results):
                if isinstance(result, ActionChunk) and request.client in self._clients:
                    self._clients[request.client].token_ids = result.token_ids
        for request, result in zip(batch, results):
            if isinstance(result, DeviceLostError):
                self.lost = result
            if isinstance(result, Exception):
                request.result.set_exception(result)
            else:
                request.result.set_result(result)

    def _results(self, batch: Sequence[_Request]) -> Sequence[ActionChunk | Exception]:
        if not self._can_batch or len(batch) == 1:
            return [self._alone(request.observation) for request in batch]
        with self._changed:
            drafts = [self._clients[request.client].token_ids if request.client in self._clients
                      else () for request in batch]
        results: Sequence[ActionChunk | Exception]
        try:
            results = self._policy.infer_batch([request.observation for request in batch], drafts)
        except Exception as error:
            return [error] * len(batch)
        if len(results) != len(batch):
            wrong = RuntimeError(f'{len(results)} results of {len(batch)} observations')
            return [wrong] * len(batch)
        return results

    def _alone(self, observation: Observation) -> ActionChunk | Exception:
        try:
            chunk: ActionChunk = self._policy.infer(observation)
        except Exception as error:
            return error
        return chunk

    def _refuse_all(self) -> None:
        for queue in self._waiting.values():
            for request in queue:
                request.result.set_exception(OverloadedError('the server ends', 1.0))
        self._waiting.clear()
