# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One thread that owns the policy: it loads it, then answers the newest sample."""

from collections.abc import Callable
import logging
import threading
from typing import Generic
from typing import Optional
from typing import TypeVar

from vla_ros.errors import Cancelled
from vla_ros.pace import Pace
from vla_ros.policy import Policy
from vla_ros.policy import PolicySpec
from vla_ros.policy import Progress

_logger = logging.getLogger(__name__)

T = TypeVar('T')


class NewestSlot(Generic[T]):
    """Hands the newest sample from one thread to another; older ones are dropped and counted."""

    def __init__(self, pace: Optional[Pace] = None,
                 changed: Optional[threading.Condition] = None) -> None:
        """
        Start empty and open.

        :param pace: when a sample may be taken; by default as soon as there is one. Who takes it
            notes the start, unless there is nothing to do with it.
        :param changed: what a test puts in the place of a condition.
        """
        self._pace = Pace() if pace is None else pace
        self._changed = threading.Condition() if changed is None else changed
        self._sample: Optional[T] = None
        self._is_open = True
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many samples were replaced before anyone took them."""
        with self._changed:
            return self._dropped

    def put(self, sample: T) -> None:
        """Replace the sample that waits."""
        with self._changed:
            self._dropped += self._sample is not None
            self._sample = sample
            self._changed.notify()

    def take(self) -> Optional[T]:
        """
        Wait for a sample, and until one may be taken; it is the newest at that moment.

        :return: None once the slot is closed.
        """
        with self._changed:
            while self._is_open:
                wait = self._pace.wait() if self._sample is not None else None
                if wait == 0.0:
                    break
                self._changed.wait(wait)
            sample, self._sample = self._sample, None
            return sample if self._is_open else None

    def close(self) -> None:
        """End every ``take``, now and later."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()


class Worker(Generic[T]):
    """
    Loads a policy and answers samples, in one thread of its own.

    Loading and inference share the thread because CUDA graphs, tuned kernels and PyTorch's
    inference mode belong to the thread that made them. Results do not wait for anybody: the
    answering function hands them over from this thread.
    """

    def __init__(self, load: Callable[[Progress], Policy], answer: Callable[[Policy, T], None],
                 progress: Progress, pace: Optional[Pace] = None) -> None:
        """
        Start loading.

        :param load: makes the policy; the progress that it is given raises
            :class:`vla_ros.errors.Cancelled` once the worker is to stop.
        :param answer: called with the policy and each sample that is answered.
        :param progress: told how the loading proceeds, in the worker's thread.
        :param pace: when a sample may be answered; by default as soon as there is one.
        """
        self._load = load
        self._answer = answer
        self._progress = progress
        self._slot: NewestSlot[T] = NewestSlot(pace)
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._spec: Optional[PolicySpec] = None
        self._error: Optional[BaseException] = None
        # A daemon: a kernel that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name='vla_worker', daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many samples were replaced by newer ones."""
        return self._slot.dropped

    def put(self, sample: T) -> None:
        """Offer a sample; it replaces the one that waits."""
        self._slot.put(sample)

    def wait_loaded(self) -> PolicySpec:
        """
        Wait until the policy is loaded.

        :raises Cancelled: the worker was stopped meanwhile.
        :raises Exception: whatever the loading raised.
        """
        self._settled.wait()
        if self._error is not None:
            raise self._error
        if self._spec is None:
            raise Cancelled('loading was cancelled')
        return self._spec

    def stop(self, timeout: float) -> bool:
        """
        Ask the thread to end, and wait for it.

        :param timeout: seconds to wait; whatever is under way in a library cannot be interrupted.
        :return: whether it ended.
        """
        self._stopping.set()
        self._slot.close()
        # Loading may hang in a library: whoever waits for it is released in any case.
        self._settled.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            policy = self._load(self._report)
        except BaseException as error:  # whatever it is, it belongs to who waits for the policy
            self._error = error
            self._settled.set()
            return
        self._spec = policy.spec
        self._settled.set()
        while (sample := self._slot.take()) is not None:
            try:
                self._answer(policy, sample)
            except Exception:
                _logger.exception('a sample could not be answered; the next one is tried')

    def _report(self, fraction: float, activity: str) -> None:
        if self._stopping.is_set():
            raise Cancelled('loading was cancelled')
        self._progress(fraction, activity)
