# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Takes messages from the receiver's thread, and writes them in its own: one bag an episode."""

from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from copy import copy
from datetime import datetime
import json
import logging
import math
from pathlib import Path
import shutil
import threading
import time

from vla_ros.errors import VlaError
from vla_ros.recording.bag_reader import complete_bag
from vla_ros.recording.bag_writer import BagWriter
from vla_ros.recording.bag_writer import DiskFull
from vla_ros.recording.bag_writer import RecordedTopic
from vla_ros.recording.counters import TopicCounter

_logger = logging.getLogger(__name__)

#: Seconds between two flushes: what a process that is killed loses at most.
_FLUSH = 0.5
#: Seconds in which messages are collected: waking the writer for each one costs much of a core.
_COLLECT = 0.05


class RecordingError(VlaError):
    """Something that cannot be done with the episode now."""


class EpisodeRecorder:
    """
    The episode that is being recorded, if one is.

    :meth:`take` never waits for the disk: what does not fit into the queue is dropped, and
    counted.
    """

    def __init__(self, folder: Path, types: Mapping[str, str], compression: str,
                 queue_bytes: int, reserve_bytes: int, late_after: float,
                 ended: Callable[[str], None]) -> None:
        """
        Prepare.

        :param types: of the messages, by topic.

        :param folder: in which the bags are made.
        :param queue_bytes: bytes of messages that may wait for the disk.
        :param reserve_bytes: free bytes below which an episode ends.
        :param ended: called, in the writer's thread, when an episode ends by itself, with why.
        """
        self.folder = folder
        self._types = dict(types)
        self._compression = compression
        self._queue_bytes = queue_bytes
        self._reserve = reserve_bytes
        self._late_after = late_after
        self._ended = ended
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, bytes, int, int, int]] = deque()
        self._waiting = 0
        self._bag: BagWriter | None = None
        self._thread: threading.Thread | None = None
        self._is_open = False
        self._began = math.nan
        self._outcome: dict[str, str] = {}
        self._lock = threading.Lock()
        #: Of the episode, and before the first one of what has come so far.
        self.counters = self._new_counters()
        self._counted = self.counters
        #: The bag that was written last, None where there is none or it was discarded.
        self.last: Path | None = None

    @property
    def is_recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._is_open

    @property
    def seconds(self) -> float:
        """Seconds since the episode began, NaN while there is none."""
        return time.monotonic() - self._began if self._is_open else math.nan

    @property
    def bag(self) -> Path | None:
        """The bag that is being written, or was last."""
        return self._bag.folder if self._bag is not None else self.last

    def free_bytes(self) -> int:
        """Bytes that are free where the bags are."""
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def start(self, topics: Sequence[RecordedTopic], metadata: Mapping[str, str]) -> Path:
        """
        Start an episode.

        :returns: its bag.
        :raises RecordingError: one is being recorded, or the disk has no room.
        :raises OSError: the bag cannot be made.
        """
        with self._lock:
            if self._is_open:
                raise RecordingError('an episode is being recorded; stop it first')
            free = self.free_bytes()
            if free < self._reserve:
                raise RecordingError(f'{self.folder} has {free / 1e6:.0f} MB left; disk.reserve_mb'
                                     f' keeps {self._reserve / 1e6:.0f} MB free')
            self._join()
            name = f'episode_{datetime.now():%Y-%m-%dT%H-%M-%S_%f}'
            self._bag = BagWriter(self.folder / name, topics, self._compression,
                                  {**metadata, 'outcome': 'recording'})
            with self._changed:
                self.counters = self._new_counters()
                self._queue.clear()
                self._waiting, self._outcome = 0, {}
                self._began = time.monotonic()
                self._is_open = True
            self._thread = threading.Thread(target=self._run, name='vla_bag_writer', daemon=True)
            self._thread.start()
            return self._bag.folder

    def take(self, topic: str, data: bytes, log_time: int, publish_time: int,
             publisher: bytes = b'', sequence: int | None = None) -> None:
        """Accept a message of one of the topics; never waits."""
        with self._changed:
            counter = self.counters[topic]
            counter.count(data, log_time, publisher, sequence, time.monotonic())
            if not self._is_open:
                return
            if self._waiting + len(data) > self._queue_bytes:
                counter.dropped += 1
                return
            self._waiting += len(data)
            self._queue.append((topic, data, log_time, publish_time, sequence or 0))

    def stop(self, outcome: str, metadata: Mapping[str, str]) -> Path:
        """
        End the episode.

        :param outcome: one of :data:`vla_ros.recording.parameters.OUTCOMES`.
        :param metadata: as it is known now.
        :returns: its bag.
        :raises RecordingError: none is being recorded, or its bag could not be finished.
        """
        with self._lock:
            if not self._is_open:
                raise RecordingError('no episode is being recorded; start one first')
            self._close({**metadata, 'outcome': outcome, 'ended_by': 'operator'})
            self._join()
            if self.last is None:
                raise RecordingError('the bag could not be finished; vla_dataset check completes '
                                     'it where there is room')
            return self.last

    def mark(self, outcome: str) -> Path:
        """
        Mark the last episode, which has ended.

        :raises RecordingError: there is none.
        """
        with self._lock:
            if self._is_open or self.last is None:
                raise RecordingError('there is no episode to be marked')
            self._join()
            complete_bag(self.last, {'outcome': outcome})
            return self.last

    def discard(self) -> Path:
        """
        Delete the episode that is being recorded, or else the last one.

        :raises RecordingError: there is none.
        """
        with self._lock:
            if self._is_open:
                self._close({'outcome': 'discarded', 'ended_by': 'operator'})
            self._join()
            if self.last is None:
                raise RecordingError('there is no episode to be discarded')
            path, self.last = self.last, None
            shutil.rmtree(path)
            return path

    def _new_counters(self) -> dict[str, TopicCounter]:
        return {topic: TopicCounter(kind, self._late_after)
                for topic, kind in self._types.items()}

    def _close(self, outcome: Mapping[str, str]) -> None:
        with self._changed:
            if self._is_open:
                # Messages that come while the rest is written are no part of the episode.
                self._counted = {name: copy(one) for name, one in self.counters.items()}
            self._is_open = False
            self._outcome = {**outcome, **self._outcome}
            self._changed.notify()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        bag, reason = self._bag, ''
        assert bag is not None
        try:
            self._write_all(bag)
        except DiskFull as error:
            reason = f'disk full: {error.strerror}'
        except Exception as error:  # any error: the written part has to be a complete bag
            reason = f'{type(error).__name__}: {error}'
        if reason:
            self._close({'outcome': 'unmarked', 'ended_by': reason})
        ended_by = self._outcome.get('ended_by', '')
        try:
            written = bag.finish()
            counts = {name: counter.facts(written[name])
                      for name, counter in self._counted.items()}
            bag.close({**self._outcome, 'counts': json.dumps(counts)})
        except OSError as error:
            _logger.error('the bag %s could not be finished: %s', bag.folder, error.strerror)
            self.last = None
        else:
            self.last = bag.folder
        self._bag = None
        if ended_by != 'operator':
            self._ended(ended_by)

    def _write_all(self, bag: BagWriter) -> None:
        flushed = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._is_open, _COLLECT)
                messages, self._queue = self._queue, deque()
                is_last = not self._is_open
            for topic, data, log_time, publish_time, sequence in messages:
                bag.write(topic, data, log_time, publish_time, sequence)
                with self._changed:
                    self._waiting -= len(data)
            if is_last:
                return
            if time.monotonic() - flushed >= _FLUSH:
                bag.flush()
                flushed = time.monotonic()
                free = self.free_bytes()
                if free < self._reserve:
                    self._close({'outcome': 'unmarked', 'ended_by':
                                 f'disk full: {free / 1e6:.0f} MB left, disk.reserve_mb keeps '
                                 f'{self._reserve / 1e6:.0f} MB free'})
