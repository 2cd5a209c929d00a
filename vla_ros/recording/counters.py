# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Counts of each topic while an episode is recorded."""

from dataclasses import dataclass
from dataclasses import field
import math

from vla_ros.recording.cdr import stamp_of
from vla_ros.util.rate_meter import RateMeter

#: Seconds over which a rate is measured: a topic of 0.5 Hz still has one.
_WINDOW = 5.0


@dataclass
class TopicCounter:
    """
    Counts of one topic.

    :param messages: received.
    :param lost: sent and not received, by the sequence numbers of their publishers.
    :param dropped: received and not written, because the disk was too slow.
    :param late: received more than ``late_after`` s after their stamp.
    :param backwards: stamped before the message before.
    :param longest_gap: s between two messages.
    """

    type: str  # noqa: A003
    late_after: float = 0.5
    messages: int = 0
    size: int = 0
    lost: int = 0
    dropped: int = 0
    late: int = 0
    backwards: int = 0
    longest_gap: float = 0.0
    _last_stamp: int = 0
    _last_arrival: float = math.nan
    _arrivals: RateMeter = field(default_factory=lambda: RateMeter(_WINDOW))
    _sequences: dict[bytes, int] = field(default_factory=dict)

    def count(self, data: bytes, log_time: int, publisher: bytes, sequence: int | None,
              now: float) -> None:
        """
        Count a message.

        :param log_time: when it was received, ns of the ROS time.
        :param sequence: number given by its publisher, None if the middleware has none.
        :param now: monotonic seconds.
        """
        self.messages += 1
        self.size += len(data)
        stamp = stamp_of(self.type, data)
        if stamp:
            self.late += log_time - stamp > 1e9 * self.late_after
            self.backwards += stamp < self._last_stamp
            self._last_stamp = stamp
        if sequence is not None:
            before = self._sequences.get(publisher)
            if before is not None and sequence > before + 1:
                self.lost += sequence - before - 1
            self._sequences[publisher] = sequence
        if self._last_arrival == self._last_arrival:
            self.longest_gap = max(self.longest_gap, now - self._last_arrival)
        self._last_arrival = now
        self._arrivals.tick(now)

    def rate(self, now: float) -> float:
        """Return the messages per second, 0 if none came lately."""
        return self._arrivals.rate(now)

    def silence(self, now: float) -> float:
        """Seconds since the last message, NaN before the first."""
        return now - self._last_arrival

    def facts(self, written: int | None = None) -> dict[str, str]:
        """
        Return the counts as text.

        :param written: messages in the finished bag; the other received ones were dropped.
        """
        dropped = self.dropped if written is None else self.messages - written
        return {'messages': str(self.messages), 'lost': str(self.lost), 'dropped': str(dropped),
                'late': str(self.late), 'backwards': str(self.backwards),
                'longest_gap_s': f'{self.longest_gap:.3f}'}
