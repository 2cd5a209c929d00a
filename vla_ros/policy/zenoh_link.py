# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A Zenoh session with one server: queries, messages and liveliness, each within its time."""

from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import json
import os
import threading
import time
from typing import Any

from vla_ros.policy.remote import RemoteError

# A chunk of 50 actions of a humanoid has 20 kB, a description of a server some kB. What is larger
# is named up to the second limit; beyond that Zenoh drops it, unseen.
_MAX_REPLY, _MAX_MESSAGE = 2**20, 2**24
# Messages that may wait: the reply, and replies to requests that were too late.
_MOST_WAITING = 8


class ReplyTimeoutError(RemoteError):
    """Nothing came before the deadline; what comes later is told apart by its request."""


class Inbox:
    """What came, and what ended it; filled by Zenoh's threads, emptied by one of ours."""

    def __init__(self) -> None:
        """Start empty."""
        self._changed = threading.Condition()
        self._contents: deque[bytes] = deque()
        self._problem = ''

    def put(self, payload: Any) -> None:
        """Accept a message; its size is checked before it is copied."""
        if len(payload) > _MAX_REPLY:
            self.fail(f'a reply of {len(payload)} bytes, more than {_MAX_REPLY}')
            return
        with self._changed:
            if len(self._contents) < _MOST_WAITING:
                self._contents.append(payload.to_bytes())
            else:
                self._problem = self._problem or 'more replies than requests'
            self._changed.notify_all()

    def fail(self, problem: str) -> None:
        """End every wait, now and later."""
        with self._changed:
            self._problem = self._problem or problem
            self._changed.notify_all()

    def take(self, end: float) -> bytes:
        """
        Wait for a message until a time of ``time.monotonic()``.

        :raises ReplyTimeoutError: none came.
        :raises RemoteError: it has ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._contents or self._problem,
                                   max(0.0, end - time.monotonic()))
            if self._problem:
                raise RemoteError(self._problem)
            if not self._contents or time.monotonic() > end:
                raise ReplyTimeoutError('no reply')
            return self._contents.popleft()

    def take_all(self) -> list[bytes]:
        """
        Return all waiting messages.

        :raises RemoteError: it has ended.
        """
        with self._changed:
            if self._problem:
                raise RemoteError(self._problem)
            return list(self._contents)


class Link:
    """
    A Zenoh session with one server and nobody else.

    Every method raises :class:`RemoteError` where Zenoh fails. The package is imported here and
    not above: whoever has no such server needs no such package.
    """

    def __init__(self, endpoint: str, end: float) -> None:
        """
        Connect until a time of ``time.monotonic()``.

        :param endpoint: as Zenoh writes it, ``tcp/gpu-machine:7447``.
        :raises RemoteError: nobody is there.
        """
        import zenoh
        self._zenoh = zenoh
        # Zenoh ends what nobody holds.
        self._held: list[Any] = []
        is_configured = bool(os.environ.get('ZENOH_CONFIG'))
        with self._errors(f'no connection to {endpoint}'):
            config = zenoh.Config.from_env() if is_configured else zenoh.Config()
            for key, value in {
                    **({} if is_configured else {'mode': 'peer'}),
                    'connect/endpoints': [endpoint], 'listen/endpoints': [],
                    'connect/timeout_ms': max(1, int((end - time.monotonic()) * 800)),
                    'connect/exit_on_failure': True,
                    # Whoever else speaks Zenoh in this network is not asked, and does not find us.
                    'scouting/multicast/enabled': False, 'scouting/gossip/enabled': False,
                    'transport/shared_memory/enabled': False,
                    'transport/link/rx/max_message_size': _MAX_MESSAGE}.items():
                config.insert_json5(key, json.dumps(value))
            self._session = zenoh.open(config)

    def query(self, key: str, message: bytes, end: float) -> list[bytes]:
        """
        Query all servers under a key.

        :raises ReplyTimeoutError: nobody is there, or one has not replied.
        """
        inbox, done = Inbox(), threading.Event()

        def put(reply: Any) -> None:
            if reply.ok is not None:
                inbox.put(reply.ok.payload)

        with self._errors('query'):
            with self._session.declare_querier(key) as querier:
                self._wait_for_match(querier, f'no server under {key}', end)
            wait = max(0.0, end - time.monotonic())
            # Zenoh's own time is the longer one: what it makes of a late query is no reply.
            self._session.get(
                key, self._zenoh.handlers.Callback(put, drop=done.set, indirect=False),
                payload=message, timeout=wait + 1.0, target=self._zenoh.QueryTarget.ALL,
                consolidation=self._zenoh.ConsolidationMode.NONE)
        if not done.wait(wait):
            raise ReplyTimeoutError('no reply')
        return inbox.take_all()

    def subscribe(self, key: str, take: Callable[[Any], None]) -> None:
        """Call a function with the payload of every message under a key."""
        def received(sample: Any) -> None:
            take(sample.payload)

        with self._errors('subscription'):
            self._held.append(self._session.declare_subscriber(
                key, self._zenoh.handlers.Callback(received, indirect=False)))

    def watch(self, key: str, gone: Callable[[], None]) -> None:
        """Call a function when a liveliness token is withdrawn, or its owner is lost."""
        def changed(sample: Any) -> None:
            if sample.kind == self._zenoh.SampleKind.DELETE:
                gone()

        with self._errors('liveliness'):
            self._held.append(self._session.liveliness().declare_subscriber(
                key, self._zenoh.handlers.Callback(changed, indirect=False), history=True))

    def announce(self, key: str) -> None:
        """Hold a liveliness token."""
        with self._errors('liveliness'):
            self._held.append(self._session.liveliness().declare_token(key))

    def publisher(self, key: str, end: float) -> Callable[[bytes], None]:
        """
        Return a function that publishes to somebody who listens.

        :raises ReplyTimeoutError: nobody does.
        """
        with self._errors('publisher'):
            # Of a slow connection the deadline decides, not a message that Zenoh drops.
            publisher = self._session.declare_publisher(
                key, congestion_control=self._zenoh.CongestionControl.BLOCK)
            self._held.append(publisher)
            self._wait_for_match(publisher, f'nobody listens to {key}', end)

        def publish(message: bytes) -> None:
            with self._errors('publisher'):
                publisher.put(message)

        return publish

    def close(self) -> None:
        """Disconnect."""
        with suppress(RemoteError), self._errors('close'):
            self._session.close()
        self._held.clear()

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._zenoh.ZError as error:
            lines = str(error).splitlines()
            raise RemoteError(f'{what}: {lines[0][:200] if lines else "Zenoh fails"}') from None

    def _wait_for_match(self, declared: Any, problem: str, end: float) -> None:
        """
        Wait until somebody has declared the other end of a key.

        :raises ReplyTimeoutError: nobody has.
        """
        matched = threading.Event()

        def changed(status: Any) -> None:
            if status.matching:
                matched.set()

        declared.declare_matching_listener(
            self._zenoh.handlers.Callback(changed, indirect=False))
        status = declared.matching_status
        if not getattr(status, 'matching', status) \
                and not matched.wait(max(0.0, end - time.monotonic())):
            raise ReplyTimeoutError(problem)
