# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The captured graphs of each prompt length; no frame waits for a capture."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vla_ros.model.background_captures import BackgroundCaptures
from vla_ros.model.graph_capture import Recorder
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.passes import decode
from vla_ros.model.passes import prefill

Passes = tuple[Callable[..., None], Callable[..., None]]


@dataclass(frozen=True)
class BucketGraphs:
    """
    The passes of sequences up to a length, ready to run.

    :param prefill: processes image and prompt, decides one token.
    :param prefill_verify: processes image, prompt and draft, decides one token more than it
        accepts of the draft.
    :param decode: decides one more token.
    :param decode_verify: decides one token more than it accepts of the rest of the draft.
    """

    prefill: Callable[[], None]
    prefill_verify: Callable[[], None]
    decode: Callable[[], None]
    decode_verify: Callable[[], None]


class GraphCache:
    """
    Holds the graphs of each bucket of lengths.

    A capture takes a while. Until a background thread has captured a new bucket, the graphs of a
    larger bucket serve it, padding included; without any, the passes run eagerly.
    """

    def __init__(self, network: OpenVlaNetwork, recorder: Recorder, buffers: Any,
                 passes: Passes = (prefill, decode)) -> None:
        """
        Start without any graph.

        :param buffers: memory of the passes, :class:`vla_ros.model.passes.Buffers` or the like.
        :param passes: prefill and decode, functions of network, buffers, length and count.
        """
        self._network = network
        self._recorder = recorder
        self._buffers = buffers
        self._prefill, self._decode = passes
        self._captures = BackgroundCaptures(
            lambda bucket: self._record(bucket, recorder.record),
            'the passes of sequences up to %d')

    def find(self, length: int) -> BucketGraphs:
        """
        Return the best graphs for a length that are available now.

        :param length: of image and prompt.
        """
        bucket = self._bucket(length)
        graphs = self._captures.get(bucket)
        if graphs is not None:
            return graphs
        if not self._recorder.is_slow:
            return self._captures.add(bucket)
        self._captures.start(bucket)
        larger = (self._captures.get(captured) for captured in sorted(self._captures.lengths())
                  if captured > bucket)
        if (graphs := next(larger, None)) is not None:
            return graphs
        return self._record(bucket, lambda run, buffers: partial(run, buffers))

    def prepare(self, length: int) -> None:
        """Capture the graphs of a length now, and wait for it."""
        self._captures.prepare(self._bucket(length))
        self._recorder.trim()

    def _bucket(self, length: int) -> int:
        return -(-length // self._recorder.bucket) * self._recorder.bucket

    def _record(self, bucket: int, record: Callable) -> BucketGraphs:
        network, count = self._network, self._buffers.count
        rest = max(count - 1, 1)
        passes = (partial(self._prefill, network, length=bucket, count=1),
                  partial(self._prefill, network, length=bucket, count=count),
                  partial(self._decode, network, length=bucket, count=1),
                  partial(self._decode, network, length=bucket, count=rest))
        return BucketGraphs(*(record(run, self._buffers) for run in passes))
