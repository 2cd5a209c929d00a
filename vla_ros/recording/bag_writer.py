# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One episode as a bag of rosbag2: an MCAP file, and the metadata.yaml beside it."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import errno
import os
from pathlib import Path
import time
from typing import Any

from vla_ros.recording.bag_files import complete
from vla_ros.recording.bag_files import lock
import yaml

#: Name of the metadata record of an episode; the newest one counts.
METADATA = 'vla_ros.episode'
COMPRESSIONS = ('none', 'lz4', 'zstd')
#: Bytes of a chunk after which it is written; an image is one by itself.
_CHUNK = 256 * 1024
#: Bytes kept free for the index, in a file that goes when the disk is full.
_BALLAST = 4 * 2**20
#: Seconds between two writes of metadata.yaml, which takes milliseconds.
_METADATA_PERIOD = 5.0


class DiskFull(OSError):
    """No more can be written; what was written is a whole bag."""


@dataclass(frozen=True)
class RecordedTopic:
    """
    A topic as a bag knows it.

    :param name: fully resolved.
    :param type: like ``std_msgs/msg/String``.
    :param definition: of the message, with those that it is made of.
    :param qos: profiles of its publishers, in the YAML of rosbag2.
    """

    name: str
    type: str  # noqa: A003
    definition: str
    qos: str = ''


class BagWriter:
    """
    Writes serialised messages; not thread-safe.

    Every :meth:`flush` hands all that was written to the operating system: a process that is
    killed loses only what came after the last one.
    """

    def __init__(self, folder: Path, topics: Sequence[RecordedTopic], compression: str,
                 metadata: Mapping[str, str]) -> None:
        """
        Open a new bag.

        :param folder: is made; its name is the bag's.
        :param compression: one of :data:`COMPRESSIONS`.
        :param metadata: of the episode, as it is known now.
        :raises OSError: it cannot be written.
        """
        from mcap.writer import CompressionType
        from mcap.writer import Writer
        folder.mkdir(parents=True)
        self.folder = folder
        self.path = folder / f'{folder.name}_0.mcap'
        self._topics = tuple(topics)
        self._metadata = dict(metadata)
        self._counts = dict.fromkeys((topic.name for topic in topics), 0)
        self._first = self._last = 0
        self._is_full = False
        self._metadata_written = -_METADATA_PERIOD
        self._ballast = folder / '.space_for_the_index'
        self._ballast.write_bytes(bytes(_BALLAST))
        self._file = self.path.open('wb')
        lock(self._file, self.path)
        self._writer = Writer(self._file, chunk_size=_CHUNK,
                              compression=CompressionType[compression.upper()])
        self._writer.start(profile='ros2', library='vla_ros')
        self._writer.add_metadata(METADATA, self._metadata)
        self._channels = {topic.name: self._register(topic) for topic in topics}
        self.flush()

    @property
    def message_count(self) -> int:
        """Messages written so far."""
        return sum(self._counts.values())

    def write(self, topic: str, data: bytes, log_time: int, publish_time: int,
              sequence: int) -> None:
        """
        Write a message.

        :param data: CDR.
        :param log_time: when it was received, ns.
        :param publish_time: when it was sent, ns.
        :raises DiskFull: it cannot be written.
        """
        try:
            self._writer.add_message(self._channels[topic], log_time=log_time, data=data,
                                     publish_time=publish_time, sequence=sequence)
        except OSError as error:
            self._refuse(error)
        self._first = min(self._first, log_time) if self.message_count else log_time
        self._last = max(self._last, log_time)
        self._counts[topic] += 1

    def flush(self) -> None:
        """
        Flush everything to the operating system, and from time to time metadata.yaml, too.

        :raises DiskFull: it cannot be written.
        """
        try:
            self._writer.flush()
            if time.monotonic() - self._metadata_written >= _METADATA_PERIOD:
                self._write_metadata()
        except OSError as error:
            self._refuse(error)

    def finish(self) -> dict[str, int]:
        """
        Write what is left, and the index; return the number of messages that are there, by topic.

        :raises OSError: not even the index could be written; :func:`complete` can, later.
        """
        try:
            if not self._is_full:
                self.flush()
        except DiskFull:
            pass
        self._ballast.unlink(missing_ok=True)
        try:
            self._file.close()
        except OSError:  # what is left in its buffer is not whole
            pass
        self._counts.update(complete(self.path))
        return dict(self._counts)

    def close(self, metadata: Mapping[str, str]) -> None:
        """
        Record what is known of a bag that is finished.

        :param metadata: of the episode, as it is known now.
        :raises OSError: it cannot be written.
        """
        self._metadata.update(metadata)
        complete(self.path, {METADATA: self._metadata})
        self._write_metadata()

    def _register(self, topic: RecordedTopic) -> int:
        schema = self._writer.register_schema(topic.type, 'ros2msg', topic.definition.encode())
        return self._writer.register_channel(topic.name, 'cdr', schema,
                                             {'offered_qos_profiles': topic.qos})

    def _refuse(self, error: OSError) -> None:
        self._is_full = True
        raise DiskFull(error.errno or errno.EIO,
                       f'{os.strerror(error.errno or errno.EIO)} ({self.path})') from None

    def _write_metadata(self) -> None:
        write_metadata(self.folder, self.path.name, self._topics, self._counts,
                       (self._first, self._last), self._metadata)
        self._metadata_written = time.monotonic()


def write_metadata(folder: Path, file: str, topics: Sequence[RecordedTopic],
                   counts: Mapping[str, int], times: tuple[int, int],
                   custom: Mapping[str, str]) -> None:
    """
    Write metadata.yaml in version 5, which rosbag2 of every supported distribution reads.

    :param times: of the first and the last message, ns.
    :param custom: the episode's metadata.
    """
    duration = {'nanoseconds': times[1] - times[0]}
    start = {'nanoseconds_since_epoch': times[0]}
    total = sum(counts.values())
    content: dict[str, Any] = {'rosbag2_bagfile_information': {
        'version': 5, 'storage_identifier': 'mcap', 'duration': duration, 'starting_time': start,
        'message_count': total, 'topics_with_message_count': [{
            'topic_metadata': {'name': topic.name, 'type': topic.type,
                               'serialization_format': 'cdr',
                               'offered_qos_profiles': topic.qos},
            'message_count': counts[topic.name]} for topic in topics],
        'compression_format': '', 'compression_mode': '', 'relative_file_paths': [file],
        'files': [{'path': file, 'starting_time': dict(start), 'duration': dict(duration),
                   'message_count': total}],
        'custom_data': dict(custom)}}
    path = folder / 'metadata.yaml'
    part = path.with_suffix('.part')
    part.write_text(yaml.safe_dump(content, sort_keys=False), encoding='utf-8')
    part.replace(path)
