# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Keeps a session with a policy server of LeRobot, and its exchanges within their deadline."""

from collections.abc import Callable
from functools import partial
import logging
from queue import Empty
from queue import SimpleQueue
import threading
import time
from typing import Any

from vla_ros.errors import VlaError
from vla_ros.policy.lerobot_session import BusyError
from vla_ros.policy.lerobot_session import LeRobotSession
from vla_ros.policy.remote import RemoteError
from vla_ros.policy.zenoh_link import ReplyTimeoutError

_logger = logging.getLogger(__name__)

# What an exchange may take beyond the deadline to say so itself; then it is left behind.
_GRACE_S = 0.05


class _Attempt:
    """An exchange in a thread of its own, that is left behind when it is too late."""

    def __init__(self, session: LeRobotSession) -> None:
        self.session = session
        self.outcome: SimpleQueue[Any] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_done = self._is_left = False

    def leave(self) -> LeRobotSession | None:
        """Let the thread close the session; return the session if the thread is at its end."""
        with self._lock:
            self._is_left = True
            return self.session if self._is_done else None

    def run(self, exchange: Callable[[LeRobotSession], Any]) -> None:
        """Exchange."""
        try:
            result = exchange(self.session)
        except Exception as error:  # any error: the waiting thread has to know
            result = error
        with self._lock:
            self._is_done = True
            is_left = self._is_left
        self.outcome.put(result)
        if is_left:
            self.session.close()


class Connection:
    """
    A session where there is one, and a new one where there is none.

    Names are looked up, connections made and declarations sent where no timeout of a library
    reaches, so that every exchange runs in a thread.
    """

    def __init__(self, make_session: Callable[[], LeRobotSession]) -> None:
        self._make = make_session
        self._session: LeRobotSession | None = None
        self._closing: threading.Thread | None = None

    def exchange(self, work: Callable[[LeRobotSession, float], Any], deadline_s: float) -> Any:
        """
        Run a function on the session, within the deadline as a whole.

        :param work: is given the session and when its time is over, by ``time.monotonic()``.
        :raises ReplyTimeoutError: it took too long; unless it hangs, the session is kept.
        :raises BusyError: the server is at work; the session is kept, too.
        :raises RemoteError: it failed; the session is given back.
        """
        end = time.monotonic() + deadline_s
        attempt = _Attempt(self._session or self._make())
        threading.Thread(target=attempt.run, name='lerobot', daemon=True, args=(
            partial(_exchange, work, self._closing, end),)).start()
        try:
            outcome = attempt.outcome.get(timeout=deadline_s + _GRACE_S)
        except Empty:
            self._session = attempt.leave()
            self.drop()
            raise ReplyTimeoutError('no reply') from None
        self._session = attempt.session
        if not isinstance(outcome, Exception):
            return outcome
        if not isinstance(outcome, (ReplyTimeoutError, BusyError)) or not self._session.is_open:
            self.drop()
        if isinstance(outcome, VlaError):
            raise outcome
        _logger.error('exchange with a LeRobot server', exc_info=outcome)
        raise RemoteError(' '.join(str(outcome).split())[:200] or type(outcome).__name__)

    def forget(self) -> None:
        """Reset the policy before the next observation."""
        if self._session is not None:
            self._session.forget()

    def drop(self) -> None:
        """Close the session in the background; the next exchange opens another."""
        session, self._session = self._session, None
        if session is not None:
            self._closing = threading.Thread(target=session.close, name='lerobot', daemon=True)
            self._closing.start()

    def close(self) -> None:
        """Close the session, which takes up to about a second."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _exchange(work: Callable[[LeRobotSession, float], Any], closing: threading.Thread | None,
              end: float, session: LeRobotSession) -> Any:
    if not session.is_open:
        if closing is not None:
            # Until the last session is given back the server takes no other.
            closing.join(max(0.0, end - time.monotonic()) / 2)
        session.open(end)
    return work(session, end)
