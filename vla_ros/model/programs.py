# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The passes of each prompt length, ready to run; a new length never keeps a frame waiting."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
import logging
import threading

from vla_ros.model.graphs import Recorder
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.passes import Buffers
from vla_ros.model.passes import decode
from vla_ros.model.passes import prefill

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Program:
    """
    The passes for sequences up to a length.

    :param prefill: reads image and prompt, decides one token.
    :param verify: reads image, prompt and draft, decides as many tokens as the draft has right.
    :param step: decides one more token.
    :param leap: decides one more token, and as many more as the draft has right behind it.
    """

    prefill: Callable[[], None]
    verify: Callable[[], None]
    step: Callable[[], None]
    leap: Callable[[], None]


class Programs:
    """
    Keeps a program for each bucket of lengths.

    Recording takes a while. Until the program of a new bucket is recorded, in the background, the
    one of a larger bucket serves, padding included; without any, the passes run unrecorded.
    """

    def __init__(self, network: OpenVlaNetwork, recorder: Recorder, buffers: Buffers) -> None:
        """Record nothing yet."""
        self._network = network
        self._recorder = recorder
        self._buffers = buffers
        self._ready: dict[int, Program] = {}
        self._lock = threading.Lock()
        self._tried: set[int] = set()

    def find(self, length: int) -> Program:
        """
        Give the program that serves a length best, now.

        :param length: of image and prompt.
        """
        bucket = self._bucket(length)
        program = self._ready.get(bucket)
        if program is not None:
            return program
        if not self._recorder.is_slow:
            return self._add(bucket)
        self._record_later(bucket)
        # A copy: the background thread may add to it at any time.
        larger = [ready for ready in list(self._ready) if ready > bucket]
        if larger:
            return self._ready[min(larger)]
        return self._program(bucket, lambda run, buffers: partial(run, buffers))

    def prepare(self, length: int) -> None:
        """Record the program of a length now, and wait for it."""
        self._record(self._bucket(length))

    def _bucket(self, length: int) -> int:
        return -(-length // self._recorder.bucket) * self._recorder.bucket

    def _add(self, bucket: int) -> Program:
        self._ready[bucket] = self._program(bucket, self._recorder.record)
        return self._ready[bucket]

    def _program(self, bucket: int, record: Callable) -> Program:
        network, count = self._network, self._buffers.count
        again = max(count - 1, 1)
        passes = (partial(prefill, network, length=bucket, count=1),
                  partial(prefill, network, length=bucket, count=count),
                  partial(decode, network, length=bucket, count=1),
                  partial(decode, network, length=bucket, count=again))
        return Program(*(record(run, self._buffers) for run in passes))

    def _record_later(self, bucket: int) -> None:
        with self._lock:
            if bucket in self._tried:
                return
            self._tried.add(bucket)
        threading.Thread(target=self._record, args=(bucket,), name='vla_graphs',
                         daemon=True).start()

    def _record(self, bucket: int) -> None:
        self._tried.add(bucket)
        try:
            self._add(bucket)
        except Exception:
            # Not every library's kernels can be captured. What served meanwhile goes on serving.
            _LOG.exception('the passes for sequences up to %d could not be recorded', bucket)
        else:
            _LOG.info('the passes for sequences up to %d are recorded', bucket)
