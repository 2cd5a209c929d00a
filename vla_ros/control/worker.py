# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One thread that owns the policy: it loads it, then processes the newest sample."""

from collections.abc import Callable
import logging
import threading
from typing import Generic
from typing import TypeVar

from vla_ros.control.rate_limiter import RateLimiter
from vla_ros.errors import Cancelled
from vla_ros.errors import DeviceLostError
from vla_ros.policy.base import Policy
from vla_ros.policy.base import PolicySpec
from vla_ros.util.progress import Progress

_logger = logging.getLogger(__name__)

T = TypeVar('T')


class NewestSlot(Generic[T]):
    """Hands the newest sample from one thread to another; older ones are dropped and counted."""

    def __init__(self, rate_limiter: RateLimiter | None = None,
                 changed: threading.Condition | None = None) -> None:
        """
        Start empty and open.

        :param rate_limiter: when a sample may be taken; by default as soon as there is one. The
            taker notes the start, unless it skips the sample.
        :param changed: a condition of a test.
        """
        self._rate_limiter = RateLimiter() if rate_limiter is None else rate_limiter
        self._changed = threading.Condition() if changed is None else changed
        self._sample: T | None = None
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

    def take(self) -> T | None:
        """
        Wait for a sample, and until one may be taken; it is the newest at that moment.

        :returns: None once the slot is closed.
        """
        with self._changed:
            while self._is_open:
                wait = self._rate_limiter.wait() if self._sample is not None else None
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
    Loads a policy and processes samples, in one thread of its own.

    Loading and inference share the thread because CUDA graphs, tuned kernels and PyTorch's
    inference mode belong to the thread that made them. Results do not wait for another
    thread: the processing function sends them from this one.
    """

    def __init__(self, load: Callable[[Progress], Policy], process: Callable[[Policy, T], None],
                 progress: Progress, rate_limiter: RateLimiter | None = None,
                 failed: Callable[[BaseException], None] = lambda error: None) -> None:
        """
        Start loading.

        :param load: makes the policy; the progress that it is given raises
            :class:`vla_ros.errors.Cancelled` once the worker is to stop.
        :param process: called with the policy and each sample that is taken.
        :param progress: called as the loading proceeds, in the worker's thread.
        :param rate_limiter: when a sample may be taken; by default as soon as there is one.
        :param failed: called, in the worker's thread, with what ``process`` has raised; unless it
            is an :class:`Exception`, it has ended the thread.
        """
        self._failed = failed
        self._load = load
        self._process = process
        self._progress = progress
        self._slot: NewestSlot[T] = NewestSlot(rate_limiter)
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._spec: PolicySpec | None = None
        self._error: BaseException | None = None
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
        Request the end of the thread, and wait for it.

        :param timeout: seconds to wait; whatever is under way in a library cannot be interrupted.
        :returns: whether it ended.
        """
        self._stopping.set()
        self._slot.close()
        # Loading may hang in a library: a thread that waits for it is released in any case.
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
                self._process(policy, sample)
            except DeviceLostError as error:
                _logger.critical('the device is lost; the worker ends', exc_info=True)
                self._slot.close()
                self._failed(error)
            except Exception as error:
                _logger.exception('a sample could not be processed; the next one is tried')
                self._failed(error)
            except BaseException as error:  # a library that exits: nothing else would report it
                _logger.critical('the thread of the policy has ended: %r', error)
                self._failed(error)
                return

    def _report(self, fraction: float, activity: str) -> None:
        if self._stopping.is_set():
            raise Cancelled('loading was cancelled')
        self._progress(fraction, activity)
