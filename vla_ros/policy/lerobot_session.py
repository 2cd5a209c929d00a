# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A session with a policy server of LeRobot: what is said in it, and what a reply must repeat."""

from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
import time
from typing import Any
from uuid import uuid4

from vla_ros.data.lerobot_msgpack import decode_body
from vla_ros.data.lerobot_msgpack import is_segment
from vla_ros.data.lerobot_msgpack import LeRobotMessage
from vla_ros.data.lerobot_msgpack import pack_message
from vla_ros.data.lerobot_msgpack import unpack_message
from vla_ros.errors import VlaError
from vla_ros.policy.keyed import read_text_error
from vla_ros.policy.lerobot_contract import Contract
from vla_ros.policy.lerobot_contract import MODE
from vla_ros.policy.lerobot_contract import read_contract
from vla_ros.policy.observation_keys import shorten
from vla_ros.policy.remote import RemoteError
from vla_ros.policy.zenoh_link import Inbox
from vla_ros.policy.zenoh_link import Link
from vla_ros.policy.zenoh_link import ReplyTimeoutError

_ROOT = 'lerobot/inference/v1/deployments'
# What a reply repeats of the observation that it is about.
_IDENTITY = ('artifact_identity', 'observation_id', 'capture_time', 'task', 'task_version')


class BusyError(RemoteError):
    """The server is at work on an earlier request, or for another client."""


class LeRobotSession:
    """
    The session that a server has admitted; it admits one at a time.

    Every reply repeats session, generation and request. One to an earlier request is left unread,
    one that differs in anything else is an error.
    """

    def __init__(self, endpoint: str, deployment: str, check: Callable[[Contract], None]) -> None:
        """
        Do nothing yet.

        :param endpoint: as Zenoh writes it, ``tcp/gpu-machine:7447``.
        :param check: raises what speaks against a server with such declarations.
        """
        self._endpoint = endpoint
        self._deployment = deployment
        self._check = check
        self._inbox = Inbox()
        self._link: Link | None = None
        self._publish: Callable[[bytes], None] | None = None
        self._sequence = self._generation = 0
        self._needs_reset = False
        self._id = self._key = ''
        #: What the server declares, once the session is open.
        self.contract: Contract

    @property
    def is_open(self) -> bool:
        """Whether the server has admitted it."""
        return self._publish is not None

    def open(self, end: float) -> None:  # noqa: A003
        """
        Connect, compare what the server declares, and be admitted.

        :raises ReplyTimeoutError: it has not happened by then.
        :raises RemoteError: nobody is there, or the server refuses or lies.
        :raises BusyError: the server has another client.
        """
        self._link = Link(self._endpoint, end)
        described = self._describe(self._link, end)
        self.contract = read_contract(described, self._deployment)
        self._check(self.contract)
        self._admit(self._link, described, end)

    def forget(self) -> None:
        """Reset the policy before the next observation."""
        self._needs_reset = self._sequence > 0

    def infer(self, features: Mapping[str, object], task: str, end: float) -> dict[str, Any]:
        """
        Exchange an observation for the body of its reply.

        :param features: each input, as the protocol's messages have it.
        :raises ReplyTimeoutError: no reply came; the session is still good.
        :raises BusyError: likewise; the server is at work on an earlier one.
        :raises RemoteError: the session is lost.
        """
        if self._needs_reset:
            self._generation += 1  # in any case: the server may carry it out later
            self._control('reset', end)
            self._needs_reset = False
        if time.monotonic() > end:
            raise ReplyTimeoutError('no reply')
        self._sequence += 1
        body = {'sequence': self._sequence, 'artifact_identity': self.contract.artifact,
                'observation_id': uuid4().hex, 'capture_time': time.monotonic(), 'task': task,
                'task_version': self._generation, 'features': features, 'delay': 0,
                'model_continuation': None, 'canonical_continuation': None, 'cursor': 0}
        request = self._message('observation', body)
        assert self._publish is not None
        self._publish(pack_message(request))
        reply = decode_body(self._await(request, end))
        for key in _IDENTITY:
            if reply.get(key) != body[key]:
                raise RemoteError(f'{key} of the reply is {shorten(reply.get(key))}, that of the '
                                  f'observation is {shorten(body[key])}')
        return reply

    def close(self) -> None:
        """Close the session within a second, and disconnect."""
        if self._link is None:
            return
        if self._key:
            with suppress(VlaError):
                self._control('close', time.monotonic() + 1.0)
        self._link.close()

    def _describe(self, link: Link, end: float) -> dict[str, Any]:
        request = LeRobotMessage('describe', request=uuid4().hex, body={})
        replies = link.query(f'{_ROOT}/{self._deployment}/describe', pack_message(request), end)
        if len(replies) != 1:
            raise RemoteError(f'{len(replies)} servers serve deployment {self._deployment}, '
                              'it must be one')
        reply = unpack_message(replies[0])
        _check(reply, request, 'descriptor', ('request', 'session', 'generation'))
        body = decode_body(reply)
        if body.get('instance_id') != reply.instance:
            raise RemoteError(f'instance_id: got {shorten(body.get("instance_id"))} in a message '
                              f'of {shorten(reply.instance)}')
        return body

    def _admit(self, link: Link, described: dict[str, Any], end: float) -> None:
        instance = self.contract.instance
        prefix = f'{_ROOT}/{self._deployment}/instances/{instance}'
        link.watch(f'{prefix}/alive', lambda: self._inbox.fail('the server has gone'))
        request = LeRobotMessage('open', instance, request=uuid4().hex,
                                 body=self.contract.request())
        reply = self._query(f'{prefix}/open', request, 'accepted',
                            ('request', 'instance', 'generation'), end)
        accepted = decode_body(reply)
        if not is_segment(reply.session):
            raise RemoteError('the server has given the session no name')
        self._id, self._key = reply.session, f'{prefix}/sessions/{reply.session}'
        if read_contract({**described, **accepted}, self._deployment) != self.contract \
                or accepted.get('mode') != MODE:
            raise RemoteError('the server has admitted the session on other terms than it '
                              'declared')
        link.subscribe(f'{self._key}/act', self._inbox.put)
        # Nothing is asked there, but the server waits until somebody listens.
        link.subscribe(f'{self._key}/language/result', lambda payload: None)
        link.announce(f'{self._key}/alive')
        self._control('reset', end)  # at generation 0 it only says that both sides are there
        self._publish = link.publisher(f'{self._key}/obs', end)

    def _control(self, operation: str, end: float) -> None:
        request = self._message('control', {'operation': operation})
        body = decode_body(self._query(
            f'{self._key}/control', request, 'ack',
            ('request', 'instance', 'session', 'generation'), end))
        applied = body.get('operation'), body.get('applied_generation')
        if applied != (operation, self._generation):
            raise RemoteError(f'the server has applied {shorten(applied)}, asked was '
                              f'{operation} at generation {self._generation}')

    def _query(self, key: str, request: LeRobotMessage, expected: str, same: tuple[str, ...],
               end: float) -> LeRobotMessage:
        assert self._link is not None
        replies = self._link.query(key, pack_message(request), end)
        if len(replies) != 1:
            raise RemoteError(f'{len(replies)} replies to {request.kind}, it must be one')
        reply = unpack_message(replies[0])
        _check(reply, request, expected, same)
        return reply

    def _await(self, request: LeRobotMessage, end: float) -> LeRobotMessage:
        others = 0
        while True:
            try:
                reply = unpack_message(self._inbox.take(end))
            except ReplyTimeoutError:
                if not others:
                    raise
                raise ReplyTimeoutError(
                    f'{others} replies to other requests and none to this one') from None
            if reply.request == request.request:
                _check(reply, request, 'action', ('instance', 'session', 'generation'))
                return reply
            others += 1

    def _message(self, kind: str, body: dict[str, Any]) -> LeRobotMessage:
        return LeRobotMessage(kind, self.contract.instance, self._id, self._generation,
                              uuid4().hex, body)


def _check(reply: LeRobotMessage, request: LeRobotMessage, expected: str,
           same: tuple[str, ...]) -> None:
    """
    Check that a reply belongs to a request, and is what that asked for.

    :raises RemoteError: it does not, or the server reports an error.
    """
    for name in same:
        got, wanted = getattr(reply, name), getattr(request, name)
        if got != wanted:
            raise RemoteError(f'{name} of the reply is {shorten(got)}, that of the request is '
                              f'{shorten(wanted)}')
    if reply.kind == 'error':
        body = decode_body(reply)
        code, text = body.get('code'), ' '.join(str(body.get('message'))[:2000].split())
        kind = BusyError if code == 'busy' else RemoteError
        raise kind(read_text_error(f'{str(code)[:40]}: {text}'))
    if reply.kind != expected:
        raise RemoteError(f'the reply is {shorten(reply.kind)}, it must be {expected!r}')
